from pathlib import Path

import pytest

from trained import on_file, train_run


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory, discrete_file: Path, continuous_file: Path) -> Path:
    """Two runs: `discrete` explores in evaluation and standardises, `bcq` draws candidates."""
    path = tmp_path_factory.mktemp("runs")
    train_run(path / "discrete", "dataset.normalize_obs=true", "algorithm.eval_eps=0.5", *on_file(discrete_file))
    train_run(path / "bcq", "algorithm=bcq", "network.vae_hidden_sizes=[8]", *on_file(continuous_file, "Pendulum-v1"))
    return path
