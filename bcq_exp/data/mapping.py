"""Transitions in memory-mapped files, and the size of transitions."""

from dataclasses import replace
from typing import Any

from bcq_exp.data.frames import FrameStacks
from bcq_exp.data.storage import is_large, mapped
from bcq_exp.data.transitions import OPTIONAL, REQUIRED, Array, Transitions


def should_map(storage: str, transitions: Transitions, device: str) -> bool:
    """Whether a buffer takes rows from files: by request, or (auto) where a dataset for the CPU is large."""
    if storage == "auto":
        return device == "cpu" and is_large(held_bytes(transitions))
    return storage == "mmap"


def held_bytes(transitions: Transitions) -> int:
    """Bytes of the columns, in memory or in files; frames that `obs` and `obs_next` share count once."""
    return sum(array.nbytes for array in _arrays(transitions).values())


def in_files(transitions: Transitions) -> Transitions:
    """Memory-map every column of transitions; raises like `new_mapped`."""
    columns: dict[str, Any] = {name: mapped(array) for name, array in _arrays(transitions).items()}
    if isinstance(transitions.obs, FrameStacks):
        frames, num_frames = columns.pop("frames"), transitions.obs.num_frames
        columns |= {name: FrameStacks(frames, columns[name], num_frames) for name in ("obs", "obs_next")}
    return replace(transitions, **columns)


def _arrays(transitions: Transitions) -> dict[str, Array]:
    """The arrays behind the columns; those of stacks are the place of each one's last frame, and `frames`."""
    arrays: dict[str, Array] = {}
    for name in REQUIRED + OPTIONAL:
        column = getattr(transitions, name)
        if isinstance(column, FrameStacks):
            arrays |= {name: column.newest, "frames": column.frames}
        elif column is not None:
            arrays[name] = column
    return arrays
