"""TensorBoard's event files of a run, read back by TensorBoard."""

from pathlib import Path
from typing import Any


def accumulated(run_dir: Path) -> Any:
    """TensorBoard's reader, with every event of the directory in it."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    reader = EventAccumulator(str(run_dir), size_guidance={"scalars": 0, "tensors": 0})
    reader.Reload()
    return reader


def scalars(run_dir: Path) -> dict[str, list[tuple[int, float]]]:
    """Update and value of each scalar that TensorBoard shows, by metric."""
    reader = accumulated(run_dir)
    return {tag: [(event.step, event.value) for event in reader.Scalars(tag)] for tag in reader.Tags()["scalars"]}
