"""Two collections of one dataset at once: one makes it, the other waits, and both have the same bytes."""

from pathlib import Path

from experiments.faults.concurrency import one_dataset


def test_one_dataset_is_made_once(tmp_path: Path) -> None:
    assert one_dataset(tmp_path) == []
