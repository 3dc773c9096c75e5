"""The replay buffer: one dataset as tensors on one device."""

from collections.abc import Collection, Mapping
from functools import partial
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bcq_exp.data.batch import Batch
from bcq_exp.data.frames import FrameStacks, StackedFrames
from bcq_exp.data.storage import is_mapped, new_mapped
from bcq_exp.data.transitions import OPTIONAL, REQUIRED, Transitions

COLUMNS = REQUIRED + OPTIONAL
FIRST = ("obs", "act", "mask")  # columns that a window takes from its first row; the others are of its last row
PIECE_ROWS = 2**20  # rows whose steps to the end are counted at once
PIECE_STEPS = 256  # steps of each row whose rewards are summed at once


class ReplayBuffer:
    """A fixed dataset as contiguous tensors on one device, sampled uniformly by a random stream of its own.

    Rows are in the order of their recording, episode after episode; an episode ends where `terminated | truncated`
    and at the last row. Floating-point columns take torch's default dtype; uint8 observations stay.

    Columns are copied into the device's memory. With `stays_mapped`, for the CPU only, columns that lie in files stay
    there, and rows are read when they are sampled.

    Args:
        obs: observations, (N, *S); stacks of frames are made when they are taken.
        act: actions, (N,) integers or (N, A) floats, in the units that the policy learns in.
        rew: rewards, (N,).
        terminated: whether the next state is terminal, (N,).
        truncated: whether the recording stopped elsewhere, (N,).
        obs_next: next observations, (N, *S).
        mask: available actions at `obs`, (N, A), if not all are.
        mask_next: available actions at `obs_next`, (N, A), if not all are.
        act_next: see `Transitions`.
        device: where the tensors and the random stream live.
        seed: of the random stream; None takes one from the operating system.
        stays_mapped: whether columns in memory-mapped files are used where they are.

    Raises:
        ValueError: if a column has a wrong shape or number of rows, or files are to be used by another device.
    """

    def __init__(
        self,
        *,
        obs: NDArray[Any] | Tensor | FrameStacks,
        act: NDArray[Any] | Tensor,
        rew: NDArray[Any] | Tensor,
        terminated: NDArray[Any] | Tensor,
        truncated: NDArray[Any] | Tensor,
        obs_next: NDArray[Any] | Tensor | FrameStacks,
        mask: NDArray[Any] | Tensor | None = None,
        mask_next: NDArray[Any] | Tensor | None = None,
        act_next: NDArray[Any] | Tensor | None = None,
        device: str | torch.device = "cpu",
        seed: int | None = None,
        stays_mapped: bool = False,
    ) -> None:
        floats = torch.get_default_dtype()
        self.device = torch.device(device)
        if stays_mapped and self.device.type != "cpu":
            raise ValueError(f"device={device}: columns in files are for device=cpu; give stays_mapped=False")
        copy = partial(_tensor, stays_mapped=stays_mapped)
        self.obs: Tensor | StackedFrames
        self.obs_next: Tensor | StackedFrames
        if isinstance(obs, FrameStacks) and isinstance(obs_next, FrameStacks) and obs.frames is obs_next.frames:
            frames, newest, newest_next = (
                copy(array).to(self.device) for array in (obs.frames, obs.newest, obs_next.newest)
            )
            self.obs = StackedFrames(frames, newest, obs.num_frames)
            self.obs_next = StackedFrames(frames, newest_next, obs.num_frames)
        elif isinstance(obs, FrameStacks) or isinstance(obs_next, FrameStacks):
            raise ValueError("obs and obs_next must both be stacks of the same frames")
        else:
            self.obs, self.obs_next = (
                column.to(self.device, column.dtype if column.dtype == torch.uint8 else floats)
                for column in (copy(obs), copy(obs_next))
            )
        self.act = copy(act).to(self.device)
        self.act = self.act.to(floats if self.act.is_floating_point() else torch.int64)
        self.rew = copy(rew).to(self.device, floats)
        self.terminated = copy(terminated).to(self.device, torch.bool)
        self.truncated = copy(truncated).to(self.device, torch.bool)
        self.mask = None if mask is None else copy(mask).to(self.device, torch.bool)
        self.mask_next = None if mask_next is None else copy(mask_next).to(self.device, torch.bool)
        self.act_next = None if act_next is None else copy(act_next).to(self.device, self.act.dtype)
        self._check_shapes()
        self.steps_to_end = _steps_to_end(self.terminated, self.truncated, is_in_file=stays_mapped)
        self.generator = torch.Generator(self.device)
        if seed is None:
            self.generator.seed()
        else:
            self.seed(seed)

    @classmethod
    def from_transitions(
        cls,
        transitions: Transitions,
        device: str | torch.device = "cpu",
        seed: int | None = None,
        *,
        stays_mapped: bool = False,
    ) -> Self:
        """Bring recorded transitions to a device; arguments as for the constructor."""
        columns = {name: getattr(transitions, name) for name in COLUMNS}
        return cls(**columns, device=device, seed=seed, stays_mapped=stays_mapped)

    def __len__(self) -> int:
        return self.rew.shape[0]

    def __getitem__(self, indices: Tensor) -> Batch:
        """The rows at `indices`, (B,) int64, of every column."""
        return Batch({name: column[indices] for name, column in self.columns().items()})

    def columns(self) -> dict[str, Any]:
        """The columns that are present, by name: tensors, or `StackedFrames` that are taken from like tensors."""
        return {name: column for name in COLUMNS if (column := getattr(self, name)) is not None}

    def seed(self, seed: int) -> None:
        """Restart the random stream from a seed."""
        self.generator.manual_seed(seed)

    def sample_indices(self, batch_size: int) -> Tensor:
        """Draw rows uniformly with replacement, (B,) int64.

        Raises:
            ValueError: if `batch_size` is below 1 or the buffer is empty.
        """
        if batch_size < 1:
            raise ValueError(f"batch_size is {batch_size}; allowed: 1 or more")
        if not len(self):
            raise ValueError("the buffer is empty; nothing can be sampled")
        return torch.randint(len(self), (batch_size,), generator=self.generator, device=self.device)

    def sample(self, batch_size: int) -> tuple[Batch, Tensor]:
        """Draw a batch uniformly with replacement, and the rows that it came from; raises like `sample_indices`."""
        indices = self.sample_indices(batch_size)
        return self[indices], indices

    def window(self, indices: Tensor, num_steps: int, fields: Collection[str] = ()) -> Batch:
        """The transitions of up to `num_steps` steps that start at `indices`, for n-step targets.

        Args:
            indices: first rows, (B,) int64.
            num_steps: number of steps, 1 or more; fewer where the episode ends before.
            fields: `act_next` adds the action (B, ...) that was taken after the last row, and `has_act_next`, (B,)
                bool, whether it is known: from the same episode's next row, or from the column `act_next`, which has
                one behind every row that is not terminal. Where it is not, some other action stands there.

        Returns:
            `obs`, `act` and `mask` of the first row; `rew`, (B, num_steps), zero past the episode's end; `num_steps`,
            (B,) int64, the number of steps taken; all else from the last row, whose `terminated` decides whether the
            target bootstraps from `obs_next`.

        Raises:
            ValueError: if `num_steps` is below 1.
        """
        if num_steps < 1:
            raise ValueError(f"num_steps is {num_steps}; allowed: 1 or more")
        return Batch(window(self.columns(), self.steps_to_end, indices, num_steps, fields))

    def discounted_returns(self, gamma: float) -> Tensor:
        """Monte-Carlo return of each row to the end of its episode, `R_t = sum_k gamma^k r_{t+k}`, (N,).

        Summed in float64. Truncated episodes are summed as far as recorded, without bootstrap.

        Args:
            gamma: discount factor in [0, 1].

        Raises:
            ValueError: if `gamma` is out of range.
        """
        if not 0 <= gamma <= 1:
            raise ValueError(f"gamma is {gamma}; allowed: 0 to 1")
        # Doubling: `returns` holds the sums of the first `span` rewards, so log2 of the longest episode passes suffice.
        returns, span = self.rew.to(torch.float64, copy=True), 1
        while (self.steps_to_end > span).any():
            goes_on = self.steps_to_end[:-span] > span
            returns[:-span] += torch.where(goes_on, gamma**span * returns[span:], 0.0)
            span *= 2
        return returns.to(self.rew.dtype)

    def returns_to_go(self, indices: Tensor, gamma: float) -> Tensor:
        """The `discounted_returns` of some rows, (B,), by reading no more than what follows each in its episode.

        Args:
            indices: rows, (B,) int64.
            gamma: discount factor in [0, 1].
        """
        steps_B = self.steps_to_end[indices]
        returns_B = torch.zeros(len(indices), dtype=torch.float64, device=self.device)
        for start in range(0, int(steps_B.max()), PIECE_STEPS):
            offset_K = torch.arange(start, start + PIECE_STEPS, device=self.device)
            is_inside_BK = offset_K < steps_B[:, None]
            rew_BK = self.rew[indices[:, None] + torch.where(is_inside_BK, offset_K, 0)]
            returns_B += (is_inside_BK * gamma ** offset_K.double() * rew_BK).sum(-1)
        return returns_B.to(self.rew.dtype)

    def _check_shapes(self) -> None:
        for name, column in self.columns().items():
            if column.shape[:1] != self.rew.shape[:1]:
                raise ValueError(
                    f"{name} has shape {tuple(column.shape)}, rew {tuple(self.rew.shape)}; "
                    "all columns must have the same number of rows"
                )
        for name in ("rew", "terminated", "truncated"):
            if (column := getattr(self, name)).ndim != 1:
                raise ValueError(f"{name} has shape {tuple(column.shape)}; allowed: (N,)")
        if self.obs.shape != self.obs_next.shape:
            raise ValueError(
                f"obs_next has shape {tuple(self.obs_next.shape)}; it must be like obs, {tuple(self.obs.shape)}"
            )


def window(
    columns: Mapping[str, Any], steps_to_end: Tensor, indices: Tensor, num_steps: int, fields: Collection[str]
) -> dict[str, Tensor]:
    """Do the work of `ReplayBuffer.window`, as a function of tensors that torch.compile can trace.

    Args:
        columns: those of a buffer, by name.
        steps_to_end: of that buffer, (N,) int64.
        indices: see `ReplayBuffer.window`, as for `num_steps` and `fields`.
    """
    steps = steps_to_end[indices].clamp(max=num_steps)
    offsets = torch.arange(num_steps, device=indices.device).expand(len(indices), -1)
    is_inside = offsets < steps[:, None]
    last = indices + steps - 1
    batch = {name: column[indices if name in FIRST else last] for name, column in columns.items() if name != "act_next"}
    batch["rew"] = torch.where(is_inside, columns["rew"][indices[:, None] + torch.where(is_inside, offsets, 0)], 0.0)
    batch["num_steps"] = steps
    for name in ("obs", "obs_next"):
        # Explicit strides make the compiler store this result: otherwise each network that reads the images would
        # gather them again, pixel by pixel.
        batch[name] = batch[name].as_strided(batch[name].shape, batch[name].stride())
    if "act_next" in fields:
        has_row = steps_to_end[last] > 1
        is_column = "act_next" in columns
        batch["has_act_next"] = ~batch["terminated"] if is_column else has_row
        batch["act_next"] = columns["act_next"][last] if is_column else columns["act"][last + has_row.long()]
    return batch


def _tensor(column: NDArray[Any] | Tensor, *, stays_mapped: bool) -> Tensor:
    """A contiguous tensor that shares no memory with the caller's, but for a file that stays mapped."""
    if isinstance(column, Tensor):
        return column.detach().clone(memory_format=torch.contiguous_format)
    if stays_mapped and is_mapped(column):
        return torch.from_numpy(column)
    return torch.tensor(np.ascontiguousarray(column))


def _steps_to_end(terminated: Tensor, truncated: Tensor, *, is_in_file: bool) -> Tensor:
    """Rows from each row to the next that a flag ends, itself included: 1 there and in the very last row.

    Made piece by piece, from the last row on, in a file or in memory.
    """
    num_rows = len(terminated)
    if is_in_file:
        steps = torch.from_numpy(new_mapped((num_rows,), np.int64))
    else:
        steps = torch.empty(num_rows, dtype=torch.int64, device=terminated.device)
    last_row = torch.full((1,), num_rows - 1, device=terminated.device)
    for stop in range(num_rows, 0, -PIECE_ROWS):
        piece = slice(max(0, stop - PIECE_ROWS), stop)
        rows = torch.arange(piece.start, stop, device=terminated.device)
        last_rows = torch.cat([rows[terminated[piece] | truncated[piece]], last_row])
        steps[piece] = last_rows[torch.searchsorted(last_rows, rows)] - rows + 1
        last_row = last_rows[:1]
    return steps
