from pathlib import Path

import pytest

from sweeps.killed_group import train_undisturbed


@pytest.fixture(scope="session")
def whole_sweep(tmp_path_factory: pytest.TempPathFactory, discrete_file: Path) -> Path:
    """The directory of a sweep that nothing has happened to."""
    return train_undisturbed(tmp_path_factory.mktemp("whole"), discrete_file)
