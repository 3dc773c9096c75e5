"""To add an algorithm: its file, its values, its line in the registry."""

import json
from pathlib import Path

from adding.tree import Tree


def test_an_algorithm_is_three_files_and_is_swept_and_evaluated(tree: Tree, tmp_path: Path, discrete_file: Path):
    registry = "bcq_exp/algorithms/__init__.py"
    tree.write_documented("bcq_exp/algorithms/entropy_bc.py")
    tree.write_documented("conf/algorithm/entropy_bc.yaml")
    tree.replace(registry, "    dqn,\n", "    dqn,\n    entropy_bc,\n")
    tree.replace(registry, '    "iql": iql', '    "entropy_bc": entropy_bc.DEFINITION,\n    "iql": iql')

    swept = tree.give(
        "-m", "bcq_exp.train", "-m", "algorithm=entropy_bc", "algorithm.entropy_weight=0,0.5", "seed=0,1",
        "dataset=h5", f"dataset.path={discrete_file}", "dataset.env=CartPole-v1", "num_updates=20", "log_freq=10",
        "eval_freq=20", "eval_episodes=1", "batch_size=16", "network.hidden_sizes=[8]", "num_threads=1",
        "hydra.sweep.dir=sweep", cwd=tmp_path,
    )  # fmt: skip
    assert swept.returncode == 0, swept.stderr
    summaries = [json.loads(path.read_text()) for path in (tmp_path / "sweep").glob("*/summary.json")]
    assert [(each["algorithm"], each["status"], each["num_updates"]) for each in summaries] == [
        ("entropy_bc", "finished", 20)
    ] * 4
    assert len({each["entropy"] for each in map(last_row, (tmp_path / "sweep").glob("*/metrics.csv"))}) == 4
    (group,) = (tmp_path / "sweep" / "groups").glob("*.json")  # one population: the key is a tensor
    assert len(json.loads(group.read_text())["runs"]) == 4

    evaluated = tree.give("-m", "bcq_exp.evaluate", "run=sweep", "episodes=1", cwd=tmp_path)
    assert evaluated.returncode == 0, evaluated.stderr
    assert evaluated.stdout.count("entropy_bc") == 4
    assert len(tree.touched) <= 3


def last_row(path: Path) -> dict[str, str]:
    """The last logged update, by the columns' names without their section."""
    names, *_, values = (line.split(",") for line in path.read_text().splitlines())
    return dict(zip((name.rpartition("/")[2] for name in names), values, strict=True))
