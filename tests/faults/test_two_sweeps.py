"""Two sweeps at once in one directory train each run once; a different sweep there is refused and harms nothing."""

from pathlib import Path

import pytest

from experiments.faults.concurrency import FAULTS


@pytest.mark.parametrize("name", ["one-sweep", "two-sweeps"])
def test_of_two_sweeps_at_once_the_directory_is_that_of_one(tmp_path: Path, name: str) -> None:
    assert FAULTS[name](tmp_path) == []
