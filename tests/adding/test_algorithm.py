"""To add an algorithm: its file, its values, its line in the registry."""

import json
from pathlib import Path

from adding.tree import Tree

SOURCE = '''"""Behavioural cloning with an entropy bonus.

Shape suffixes: B batch, A number of actions.
"""

from dataclasses import dataclass

from torch import Tensor

from bcq_exp.algorithms import bc_discrete
from bcq_exp.algorithms.definition import Definition
from bcq_exp.algorithms.form import Algorithm, Nets, Stage, Tensors
from bcq_exp.fields import within
from bcq_exp.networks import Sizes

SWEPT = bc_discrete.SWEPT | {"entropy_weight"}


@dataclass(kw_only=True)
class EntropyBCConfig(bc_discrete.DiscreteBCConfig):
    """Keys of `conf/algorithm/entropy_bc.yaml`."""

    entropy_weight: float = within(0)


def loss(nets: Nets, targets: Nets, batch: Tensors, noise: Tensors, hp: Tensors) -> tuple[Tensor, Tensors]:
    """-mean log G(a|s) - weight H(G(s))."""
    imitation, metrics = bc_discrete.loss(nets, targets, batch, noise, hp)
    log_BA = nets["imitator"](batch["obs"]).log_softmax(-1)
    entropy = -(log_BA.exp() * log_BA).sum(-1).mean()
    return imitation - hp["entropy_weight"] * entropy, {**metrics, "entropy": entropy}


def from_config(cfg: EntropyBCConfig, sizes: Sizes) -> Algorithm:
    """One stage."""
    return Algorithm((Stage(loss, trains=("imitator",)),), targets={}, act=bc_discrete.act, swept=SWEPT)


DEFINITION = Definition(EntropyBCConfig, from_config, bc_discrete.networks, SWEPT)
'''


def test_an_algorithm_is_three_files_and_is_swept_and_evaluated(tree: Tree, tmp_path: Path, discrete_file: Path):
    registry = "bcq_exp/algorithms/__init__.py"
    tree.write("bcq_exp/algorithms/entropy_bc.py", SOURCE)
    tree.write("conf/algorithm/entropy_bc.yaml", "name: entropy_bc\nentropy_weight: 0.1\neval_eps: 0.001\n")
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
