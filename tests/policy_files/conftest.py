from pathlib import Path

import pytest

from bcq_exp.behaviours.treatment import log
from bcq_exp.data.formats.tables.arrow import write
from trained import on_file, train_run


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory, discrete_file: Path, continuous_file: Path) -> Path:
    """Two runs: `discrete` explores in evaluation and standardises, `bcq` draws candidates."""
    path = tmp_path_factory.mktemp("runs")
    train_run(path / "discrete", "dataset.normalize_obs=true", "algorithm.eval_eps=0.5", *on_file(discrete_file))
    train_run(path / "bcq", "algorithm=bcq", "network.vae_hidden_sizes=[8]", *on_file(continuous_file, "Pendulum-v1"))
    return path


@pytest.fixture(scope="session")
def doses(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs `one` and `two` on a log of treatments, without an environment, a quarter of the patients held out."""
    pytest.importorskip("pyarrow")
    path = tmp_path_factory.mktemp("doses")
    write(path / "log.csv", [log(40, 0)])
    typed = ("dataset=treatment", f"dataset.path={path}/log.csv", "dataset.holdout=0.25")
    for name, threshold in (("one", 0.3), ("two", 1)):
        train_run(path / name, f"algorithm.unlikely_action_threshold={threshold}", *typed)
    return path
