"""To add a training metric: a loss returns it."""

from pathlib import Path

from adding.test_algorithm import last_row
from adding.tree import Tree


def test_a_metric_is_one_file_and_has_a_column(tree: Tree, tmp_path: Path, discrete_file: Path):
    tree.replace(
        "bcq_exp/algorithms/dqn.py",
        'return q_loss, {"loss": q_loss}',
        'return q_loss, {"loss": q_loss, "target_spread": y_B.std()}',
    )
    done = tree.give(
        "-m", "bcq_exp.train", "algorithm=dqn", "dataset=h5", f"dataset.path={discrete_file}",
        "dataset.env=CartPole-v1", "num_updates=20", "log_freq=10", "eval_freq=20", "eval_episodes=1",
        "batch_size=16", "network.hidden_sizes=[8]", "num_threads=1", "hydra.run.dir=run", cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert float(last_row(tmp_path / "run" / "metrics.csv")["target_spread"]) > 0
    assert len(tree.touched) == 1
