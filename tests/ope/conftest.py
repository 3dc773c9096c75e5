from pathlib import Path

import pytest

from bcq_exp.analysis.trained_runs import TrainedRun, trained_runs
from trained import on_file, train_run


@pytest.fixture(scope="session")
def discrete_runs(tmp_path_factory: pytest.TempPathFactory, discrete_file: Path) -> list[TrainedRun]:
    path = tmp_path_factory.mktemp("discrete")
    train_run(path / "a", "algorithm=dqn", "dataset.reward_scale=10", *on_file(discrete_file))
    train_run(path / "b", "algorithm.eval_eps=1.0", "dataset.fraction=0.5", *on_file(discrete_file))
    return sorted(trained_runs(path, "cpu"), key=lambda run: run.directory)
