from pathlib import Path

import pytest

from trained import write_run


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    write_run(tmp_path / "a", algorithm="bcq", seed=0, returns=[1, 2, 3, 4, 5, 6])
    write_run(tmp_path / "b", algorithm="bcq", seed=1, returns=[3, 4, 5, 6, 7, 8])
    write_run(tmp_path / "c", algorithm="bcq", seed=2, returns=[], status="failed")
    write_run(tmp_path / "d", algorithm="bc", seed=0, returns=[9, 9, 9, 9, 9, 9], typed=("optimizer.lr=0.1",))
    return tmp_path
