"""The replay buffer: one dataset as tensors on one device."""

from collections.abc import Mapping
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bcq_exp.data.batch import Batch
from bcq_exp.data.transitions import MASKS, REQUIRED, Transitions

COLUMNS = REQUIRED + MASKS
FIRST = ("obs", "act", "mask")  # of a window's first row; all else is of its last


class ReplayBuffer:
    """A fixed dataset as contiguous tensors on one device, sampled uniformly by a random stream of its own.

    Rows are in the order of their recording, episode after episode; an episode ends where `terminated | truncated`
    and at the last row. Floating-point columns take torch's default dtype; uint8 observations stay.

    Args:
        obs: observations, (N, *S).
        act: actions, (N,) integers or (N, A) floats, in the units that the policy learns in.
        rew: rewards, (N,).
        terminated: whether the next state is terminal, (N,).
        truncated: whether the recording stopped elsewhere, (N,).
        obs_next: next observations, (N, *S).
        mask: available actions at `obs`, (N, A), if not all are.
        mask_next: available actions at `obs_next`, (N, A), if not all are.
        device: where the tensors and the random stream live.
        seed: of the random stream; None takes one from the operating system.

    Raises:
        ValueError: if a column has a wrong shape or number of rows.
    """

    def __init__(
        self,
        *,
        obs: NDArray[Any] | Tensor,
        act: NDArray[Any] | Tensor,
        rew: NDArray[Any] | Tensor,
        terminated: NDArray[Any] | Tensor,
        truncated: NDArray[Any] | Tensor,
        obs_next: NDArray[Any] | Tensor,
        mask: NDArray[Any] | Tensor | None = None,
        mask_next: NDArray[Any] | Tensor | None = None,
        device: str | torch.device = "cpu",
        seed: int | None = None,
    ) -> None:
        floats = torch.get_default_dtype()
        self.device = torch.device(device)
        self.obs, self.obs_next = (
            column.to(self.device, column.dtype if column.dtype == torch.uint8 else floats)
            for column in (_copy(obs), _copy(obs_next))
        )
        self.act = _copy(act).to(self.device)
        self.act = self.act.to(floats if self.act.is_floating_point() else torch.int64)
        self.rew = _copy(rew).to(self.device, floats)
        self.terminated = _copy(terminated).to(self.device, torch.bool)
        self.truncated = _copy(truncated).to(self.device, torch.bool)
        self.mask = None if mask is None else _copy(mask).to(self.device, torch.bool)
        self.mask_next = None if mask_next is None else _copy(mask_next).to(self.device, torch.bool)
        self._check_shapes()
        self.steps_to_end = _steps_to_end(self.terminated | self.truncated)
        self.generator = torch.Generator(self.device)
        if seed is None:
            self.generator.seed()
        else:
            self.seed(seed)

    @classmethod
    def from_transitions(
        cls, transitions: Transitions, device: str | torch.device = "cpu", seed: int | None = None
    ) -> Self:
        """Copy recorded transitions to a device; arguments as for the constructor."""
        return cls(**{name: getattr(transitions, name) for name in COLUMNS}, device=device, seed=seed)

    def __len__(self) -> int:
        return self.rew.shape[0]

    def __getitem__(self, indices: Tensor) -> Batch:
        """The rows at `indices`, (B,) int64, of every column."""
        return Batch({name: column[indices] for name, column in self.columns().items()})

    def columns(self) -> dict[str, Tensor]:
        """The columns that are present, by name."""
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

    def window(self, indices: Tensor, num_steps: int) -> Batch:
        """The transitions of up to `num_steps` steps that start at `indices`, for n-step targets.

        Args:
            indices: first rows, (B,) int64.
            num_steps: number of steps, 1 or more; fewer where the episode ends before.

        Returns:
            `obs`, `act` and `mask` of the first row; `rew`, (B, num_steps), zero past the episode's end; `num_steps`,
            (B,) int64, the number of steps taken; all else from the last row, whose `terminated` decides whether the
            target bootstraps from `obs_next`.

        Raises:
            ValueError: if `num_steps` is below 1.
        """
        if num_steps < 1:
            raise ValueError(f"num_steps is {num_steps}; allowed: 1 or more")
        return Batch(window(self.columns(), self.steps_to_end, indices, num_steps))

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


def window(columns: Mapping[str, Tensor], steps_to_end: Tensor, indices: Tensor, num_steps: int) -> dict[str, Tensor]:
    """What `ReplayBuffer.window` returns, from its columns and `steps_to_end`; a compiler can follow it."""
    steps = steps_to_end[indices].clamp(max=num_steps)
    offsets = torch.arange(num_steps, device=indices.device).expand(len(indices), -1)
    is_inside = offsets < steps[:, None]
    last = indices + steps - 1
    found = {name: column[indices if name in FIRST else last] for name, column in columns.items()}
    found["rew"] = torch.where(is_inside, columns["rew"][indices[:, None] + torch.where(is_inside, offsets, 0)], 0.0)
    found["num_steps"] = steps
    return found


def _copy(column: NDArray[Any] | Tensor) -> Tensor:
    """A contiguous tensor that shares no memory with the caller's."""
    if isinstance(column, Tensor):
        return column.detach().clone(memory_format=torch.contiguous_format)
    return torch.tensor(np.ascontiguousarray(column))


def _steps_to_end(ends: Tensor) -> Tensor:
    """Rows from each row to the next that `ends` flags, itself included: 1 there and in the very last row."""
    rows = torch.arange(len(ends), device=ends.device)
    last_rows = torch.cat([rows[ends], rows[-1:]])
    return last_rows[torch.searchsorted(last_rows, rows)] - rows + 1
