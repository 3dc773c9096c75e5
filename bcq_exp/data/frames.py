"""Observations that are stacks of the last K frames: each frame is kept once, stacks are made when they are taken."""

import math
from dataclasses import dataclass, replace
from typing import Any, Self

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
        """Shape of the whole array, (N, K, H, W)."""
        return (len(self.newest), self.num_frames, *self.frames.shape[1:])

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of a frame."""
        return self.frames.dtype

    @property
    def nbytes(self) -> int:
        """Bytes of the whole array, in which a frame stands K times."""
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
    """The array that holds a column's distinct values: a stack's frames, or the column itself."""
    return column.frames if isinstance(column, FrameStacks) else column


class StackedFrames:
    """The tensors of a `FrameStacks`; stacks are made of the rows that an index tensor takes.

    Args:
        frames: (T, H, W).
        newest: place of each stack's last frame, (N,) int64.
        num_frames: K.
    """

    def __init__(self, frames: Tensor, newest: Tensor, num_frames: int) -> None:
        self.frames, self.newest = frames, newest
        self.offsets = torch.arange(1 - num_frames, 1, device=frames.device)

    def parts(self) -> tuple[list[Tensor], None]:
        """Its tensors, as `torch.utils._pytree` takes a container apart."""
        return [self.frames, self.newest, self.offsets], None

    @classmethod
    def of(cls, frames: Tensor, newest: Tensor, offsets: Tensor) -> Self:
        """One of these tensors."""
        made = cls.__new__(cls)
        made.frames, made.newest, made.offsets = frames, newest, offsets
        return made

    @property
    def shape(self) -> tuple[int, ...]:
        """(N, K, H, W)."""
        return (*self.newest.shape, *self.offsets.shape, *self.frames.shape[1:])

    @property
    def dtype(self) -> torch.dtype:
        """Type of a frame."""
        return self.frames.dtype

    def __getitem__(self, rows: Tensor) -> Tensor:
        """The stacks (B, K, H, W) at rows (B,); a compiler can follow it."""
        places = self.newest[rows].unsqueeze(-1) + self.offsets
        # Whole frames are copied, which is five times as fast as indexing.
        return self.frames.index_select(0, places.flatten()).view(*places.shape, *self.frames.shape[1:])
