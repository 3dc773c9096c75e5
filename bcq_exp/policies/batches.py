"""Batches of any library, converted to the columns that losses take, and checked.

Shape suffixes: B batch, A number of actions.
"""

from collections.abc import Collection, Mapping
from typing import Any

import torch
from torch import Tensor

from bcq_exp.data import ReplayBuffer

REQUIRED = ("obs", "act", "rew", "terminated", "truncated", "obs_next")


def get(batch: Any, name: str) -> Any:
    """The named key or attribute of a batch, or None."""
    return batch.get(name) if isinstance(batch, Mapping) else getattr(batch, name, None)


def to_tensor(value: Any, device: torch.device) -> Tensor:
    """Numpy or torch to torch, on the device, in torch's default precision, as the replay buffer keeps numbers."""
    return torch.as_tensor(value, device=device, dtype=torch.get_default_dtype())


def observation_columns(batch: Any, name: str, device: torch.device) -> dict[str, Tensor]:
    """The observation (B, *S) of that name and, if the batch has one, its mask of available actions (B, A).

    The mask of `obs` is `obs.mask` beside `obs.obs`, or the batch's `mask`; that of `obs_next` likewise.
    """
    obs, mask_name = get(batch, name), name.replace("obs", "mask")
    inner, mask = get(obs, "obs"), get(obs, "mask")
    mask = get(batch, mask_name) if mask is None else mask
    columns = {name: to_tensor(obs if inner is None else inner, device)}
    if mask is not None:
        columns[mask_name] = torch.as_tensor(mask, device=device, dtype=torch.bool)
    return columns


def sample(buffer: Any, sample_size: int, num_steps: int, fields: Collection[str]) -> tuple[Any, Any]:
    """Sample a batch of a buffer; returns the batch and its row numbers.

    Args:
        buffer: a `ReplayBuffer`, or any object whose `sample(sample_size)` returns both, as Tianshou's buffers do.
        sample_size: rows; 0 takes the whole buffer, with Tianshou's too.
        num_steps: of the algorithm's reward window.
        fields: the algorithm's optional columns.

    Raises:
        ValueError: the buffer has no such `sample`, or the algorithm needs columns that only a `ReplayBuffer` makes.
    """
    if isinstance(buffer, ReplayBuffer):
        indices = buffer.sample_indices(sample_size) if sample_size else torch.arange(len(buffer), device=buffer.device)
        return buffer[indices], indices
    name = f"{type(buffer).__module__}.{type(buffer).__qualname__}"
    remedy = "make a bcq_exp.data.ReplayBuffer of its columns: ReplayBuffer(obs=..., act=..., rew=..., terminated=..., "
    remedy += "truncated=..., obs_next=...), rows in the order of their recording"
    if num_steps > 1 or fields:
        wanted = f"{num_steps} steps in their order" if num_steps > 1 else ", ".join(fields)
        raise ValueError(f"buffer is a {name}, whose samples lack {wanted}, which this algorithm needs; {remedy}")
    pair = buffer.sample(sample_size) if callable(getattr(buffer, "sample", None)) else None
    if not isinstance(pair, tuple) or len(pair) != 2 or any(get(pair[0], key) is None for key in REQUIRED):
        raise ValueError(
            f"buffer is a {name}, which has no sample(sample_size) that gives (batch, indices), the batch with "
            f"{', '.join(REQUIRED)}; {remedy}"
        )
    return pair


def check_masks(columns: Mapping[str, Tensor], *, is_discrete: bool) -> None:
    """Raise ValueError for masks beside continuous actions, which nothing would read."""
    masks = [name for name in ("mask", "mask_next") if name in columns]
    if masks and not is_discrete:
        raise ValueError(f"batch has {', '.join(masks)}; masks are for discrete actions, and these are continuous")


def training_columns(
    batch: Any, device: torch.device, fields: Collection[str] = (), *, is_discrete: bool
) -> dict[str, Tensor]:
    """The columns of a training batch, checked.

    `returns`, a target made by the caller, becomes a reward that ends its episode, so that y = returns.

    Args:
        batch: any object with the named attributes or keys, numpy or torch: obs, act, rew, terminated, truncated,
            obs_next, and optionally mask, mask_next, returns, num_steps.
        device: of the columns.
        fields: the algorithm's optional columns; `act_next` requires `act_next` and `has_act_next`.
        is_discrete: whether `act` holds indices.

    Raises:
        ValueError: a missing name, a column whose length differs, an action that its mask excludes, or masks beside
            continuous actions.
    """
    needed = (*REQUIRED, "act_next", "has_act_next") if "act_next" in fields else REQUIRED
    missing = [name for name in needed if get(batch, name) is None]
    if missing:
        raise ValueError(f"batch lacks {', '.join(missing)}; learn needs {', '.join(needed)}")
    columns = observation_columns(batch, "obs", device) | observation_columns(batch, "obs_next", device)
    check_masks(columns, is_discrete=is_discrete)
    num_rows = len(columns["obs"])
    for name in (name for name in ("act", "act_next") if name in needed):
        act = get(batch, name)
        columns[name] = (
            torch.as_tensor(act, device=device).long().flatten()
            if is_discrete
            else to_tensor(act, device).reshape(len(act), -1)
        )
    rew = to_tensor(get(batch, "rew"), device)
    columns["rew"] = rew.unsqueeze(-1) if rew.ndim == 1 else rew
    for name in (name for name in ("terminated", "truncated", "has_act_next") if name in needed):
        columns[name] = torch.as_tensor(get(batch, name), device=device, dtype=torch.bool).flatten()
    num_steps = get(batch, "num_steps")
    columns["num_steps"] = (
        torch.full((num_rows,), columns["rew"].shape[1], device=device)
        if num_steps is None
        else torch.as_tensor(num_steps, device=device)
    )
    returns = get(batch, "returns")
    if returns is not None:
        columns["returns"] = to_tensor(returns, device).reshape(-1, 1)
    for name, column in columns.items():
        if len(column) != num_rows:
            raise ValueError(f"batch.{name} has {len(column)} rows, batch.obs has {num_rows}")
    if "mask" in columns:
        check_taken(columns["mask"], columns["act"])
    if returns is not None:
        columns["rew"], columns["terminated"] = columns.pop("returns"), torch.ones_like(columns["terminated"])
    return columns


def check_taken(mask_BA: Tensor, act_B: Tensor) -> None:
    """Raise ValueError where a mask of available actions excludes the action that was taken."""
    is_excluded_B = ~mask_BA.gather(1, act_B.unsqueeze(1)).squeeze(1)
    if is_excluded_B.any():
        row = int(is_excluded_B.int().argmax())
        raise ValueError(f"batch.act is {int(act_B[row])} in row {row}, an action that batch.mask excludes there")
