"""Two processes never write one run directory: each gets its own, or is refused and harms nothing."""

from pathlib import Path

import pytest

from experiments.faults.concurrency import FAULTS


@pytest.mark.parametrize("name", ["one-run", "two-runs", "one-second"])
def test_of_two_runs_at_once_each_is_as_if_it_were_alone(tmp_path: Path, name: str) -> None:
    assert FAULTS[name](tmp_path) == []
