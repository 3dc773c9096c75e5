"""The same command gives the same bytes of metrics and weights, in another folder and at another time."""

from pathlib import Path

import pytest

from experiments.faults.kills import undisturbed
from experiments.faults.remains import differences, files
from experiments.faults.scenarios import Scenario

TINY = ("-m", "logger=csv", "dataset.num_transitions=2000", "num_threads=1", "compile=never",
        "network.hidden_sizes=[16]", "batch_size=16", "num_updates=12", "log_freq=5",
        "checkpoint_freq=8", "eval_freq=12", "eval_episodes=1", "hydra.sweep.dir=sweep")  # fmt: skip


@pytest.mark.parametrize(
    ("dataset", "algorithms"),
    [("cartpole-noisy", ("discrete_bcq", "qrdqn", "rem")), ("pendulum-noisy", ("bcq", "td3_bc", "cql", "bear"))],
)
def test_a_command_that_is_given_twice_leaves_the_same(
    tmp_path: Path, dataset: str, algorithms: tuple[str, ...]
) -> None:
    chosen = (f"dataset={dataset}", f"algorithm={','.join(algorithms)}")
    for name in ("once", "twice"):
        undisturbed(Scenario(name, "train", (*TINY, *chosen)), tmp_path / name)
    names = [name for name in files(tmp_path / "once") if name.endswith(("metrics.csv", "tensors.safetensors"))]
    assert len(names) == 3 * len(algorithms)  # two checkpoints each
    assert not differences(tmp_path / "once", tmp_path / "twice")
