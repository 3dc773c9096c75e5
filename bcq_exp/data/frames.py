"""Observations that are stacks of the last frames, where each frame is kept once and stacks are made when taken."""

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Array = NDArray[Any]


@dataclass(frozen=True, eq=False)
class FrameStacks:
    """A column of N stacks, which other code handles like an array (N, K, H, W): `np.asarray` makes it one.

    Frames of an episode lie one behind the other. Before the first one of an episode lie K - 1 of zeros, as in the
    replay memory of Dopamine (`circular_replay_buffer.py`, `add`).

    Args:
        frames: (T, H, W) uint8, in memory or mapped; several columns may share them.
        newest: place in `frames` of each stack's last frame, (N,) int64, each at least K - 1.
        num_frames: K.
    """

    frames: Array
    newest: Array
    num_frames: int

    @property
    def shape(self) -> tuple[int, ...]:
        """That of the array which this stands for."""
        return (len(self.newest), self.num_frames, *self.frames.shape[1:])

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of a frame."""
        return self.frames.dtype

    @property
    def nbytes(self) -> int:
        """Of the array which this stands for."""
        return math.prod(self.shape) * self.dtype.itemsize

    def __len__(self) -> int:
        return len(self.newest)

    def __getitem__(self, rows: Any) -> Any:
        """The stack at one index, or those at a slice or an array of rows as a column that shares the frames."""
        newest = self.newest[rows]
        return self._stacked(newest) if np.ndim(newest) == 0 else replace(self, newest=newest)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        """All stacks, each frame K times."""
        return self._stacked(self.newest).astype(dtype or self.dtype, copy=False)

    def _stacked(self, newest: Array) -> Array:
        stacked: Array = self.frames[newest[..., None] + np.arange(1 - self.num_frames, 1)]
        return stacked


def distinct(column: Array | FrameStacks) -> Array:
    """What values of a column may be looked for in: the frames of stacks, each once, or the column itself."""
    return column.frames if isinstance(column, FrameStacks) else column


class StackedFrames:
    """The tensors of a `FrameStacks`: what is taken from it at an index tensor is stacked there and then.

    Args:
        frames: (T, H, W).
        newest: place of each stack's last frame, (N,) int64.
        num_frames: K.
    """

    def __init__(self, frames: Tensor, newest: Tensor, num_frames: int) -> None:
        self.frames, self.newest = frames, newest
        self.offsets = torch.arange(1 - num_frames, 1, device=frames.device)

    @property
    def shape(self) -> tuple[int, ...]:
        """(N, K, H, W)."""
        return (*self.newest.shape, *self.offsets.shape, *self.frames.shape[1:])

    @property
    def dtype(self) -> torch.dtype:
        """Of a frame."""
        return self.frames.dtype

    def __getitem__(self, rows: Tensor) -> Tensor:
        """The stacks (B, K, H, W) at rows (B,); a compiler can follow it."""
        places = self.newest[rows].unsqueeze(-1) + self.offsets
        # Whole frames are copied, which is five times as fast as indexing.
        return self.frames.index_select(0, places.flatten()).view(*places.shape, *self.frames.shape[1:])
