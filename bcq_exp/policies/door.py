"""The door of the public classes: whatever people bring in becomes the columns and callables that losses take.

Shape suffixes: B batch, K steps of the reward window.
"""

from collections.abc import Callable, Collection, Mapping
from typing import Any

import torch
from torch import Tensor

from bcq_exp.data import ReplayBuffer

REQUIRED = ("obs", "act", "rew", "terminated", "truncated", "obs_next")


class Net:
    """A module as losses see it: a plain tensor, whatever state the module returns beside it.

    Args:
        module: returns a tensor, or the pair (output, state).
        is_scalar: drop a trailing axis of size one, so that (B, 1) values become (B,).
        is_pair: the pair that the module returns is itself the output.
        state: passed on to the module where it is not None; what the module returned last stands in `state_next`.
    """

    def __init__(
        self, module: Callable[..., Any], *, is_scalar: bool = False, is_pair: bool = False, state: Any = None
    ) -> None:
        self.module, self.is_scalar, self.is_pair, self.state = module, is_scalar, is_pair, state
        self.state_next: Any = None

    def __call__(self, *inputs: Tensor) -> Any:
        """The module's output."""
        out = self.module(*inputs) if self.state is None else self.module(*inputs, self.state)
        if isinstance(out, tuple) and not self.is_pair:
            out, self.state_next = out
        return out.flatten() if self.is_scalar else out


def get(batch: Any, name: str) -> Any:
    """The named key or attribute of a batch, or None."""
    return batch.get(name) if isinstance(batch, Mapping) else getattr(batch, name, None)


def to_tensor(value: Any, device: torch.device) -> Tensor:
    """Numpy or torch to torch, on the device, in torch's default precision, as the replay buffer keeps numbers."""
    return torch.as_tensor(value, device=device, dtype=torch.get_default_dtype())


def observation(batch: Any, name: str, device: torch.device) -> dict[str, Tensor]:
    """The observation (B, *S) of that name and, where there is one, its mask of available actions (B, A).

    The mask of `obs` stands in `obs.mask` beside `obs.obs`, or in the batch as `mask`; that of `obs_next` likewise.
    """
    obs = get(batch, name)
    inner, mask = get(obs, "obs"), get(obs, "mask")
    mask = get(batch, name.replace("obs", "mask")) if mask is None else mask
    found = {name: to_tensor(obs if inner is None else inner, device)}
    if mask is not None:
        found[name.replace("obs", "mask")] = torch.as_tensor(mask, device=device, dtype=torch.bool)
    return found


def drawn(buffer: Any, sample_size: int, num_steps: int, fields: Collection[str]) -> tuple[Any, Any]:
    """A batch of a buffer and the rows that it came from.

    Args:
        buffer: a `ReplayBuffer`, or any object whose `sample(sample_size)` gives both, as that of Tianshou's buffers.
        sample_size: rows; 0 takes the whole buffer, with Tianshou's too.
        num_steps: of the algorithm's reward window.
        fields: what the algorithm wants of a batch besides.

    Raises:
        ValueError: the buffer has no such `sample`, or the algorithm needs what only a `ReplayBuffer` can add to it.
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
    found = buffer.sample(sample_size) if callable(getattr(buffer, "sample", None)) else None
    if not isinstance(found, tuple) or len(found) != 2 or any(get(found[0], key) is None for key in REQUIRED):
        raise ValueError(
            f"buffer is a {name}, which has no sample(sample_size) that gives (batch, indices), the batch with "
            f"{', '.join(REQUIRED)}; {remedy}"
        )
    return found


def check_masks(found: Mapping[str, Tensor], *, is_discrete: bool) -> None:
    """Raise ValueError where columns have masks, and actions are continuous, so that none would be read."""
    masks = [name for name in ("mask", "mask_next") if name in found]
    if masks and not is_discrete:
        raise ValueError(f"batch has {', '.join(masks)}; masks are for discrete actions, and these are continuous")


def columns(batch: Any, device: torch.device, fields: Collection[str] = (), *, is_discrete: bool) -> dict[str, Tensor]:
    """The columns of a training batch, checked.

    `returns` (the whole target, made elsewhere) comes in as a reward after which nothing follows: y = returns.

    Args:
        batch: any object with the named attributes or keys, numpy or torch: obs, act, rew, terminated, truncated,
            obs_next, and where they exist mask, mask_next, returns, num_steps.
        device: where the columns shall lie.
        fields: with `act_next` the batch must have `act_next` and `has_act_next` too.
        is_discrete: whether `act` holds indices.

    Raises:
        ValueError: a missing name, a column whose length differs, an action that its mask excludes, or masks beside
            continuous actions.
    """
    needed = (*REQUIRED, "act_next", "has_act_next") if "act_next" in fields else REQUIRED
    missing = [name for name in needed if get(batch, name) is None]
    if missing:
        raise ValueError(f"batch lacks {', '.join(missing)}; learn needs {', '.join(needed)}")
    found = observation(batch, "obs", device) | observation(batch, "obs_next", device)
    check_masks(found, is_discrete=is_discrete)
    num_rows = len(found["obs"])
    for name in ("act", "act_next"):
        if name in needed:
            act = get(batch, name)
            found[name] = (
                torch.as_tensor(act, device=device).long().flatten()
                if is_discrete
                else to_tensor(act, device).reshape(len(act), -1)
            )
    rew = to_tensor(get(batch, "rew"), device)
    found["rew"] = rew.unsqueeze(-1) if rew.ndim == 1 else rew
    for name in (name for name in ("terminated", "truncated", "has_act_next") if name in needed):
        found[name] = torch.as_tensor(get(batch, name), device=device, dtype=torch.bool).flatten()
    num_steps = get(batch, "num_steps")
    found["num_steps"] = (
        torch.full((num_rows,), found["rew"].shape[1], device=device)
        if num_steps is None
        else torch.as_tensor(num_steps, device=device)
    )
    returns = get(batch, "returns")
    if returns is not None:
        found["returns"] = to_tensor(returns, device).reshape(-1, 1)
    for name, column in found.items():
        if len(column) != num_rows:
            raise ValueError(f"batch.{name} has {len(column)} rows, batch.obs has {num_rows}")
    if "mask" in found and not (is_taken_B := found["mask"].gather(1, found["act"].unsqueeze(1)).squeeze(1)).all():
        row = int(is_taken_B.int().argmin())
        raise ValueError(
            f"batch.act is {int(found['act'][row])} in row {row}, an action that batch.mask excludes there"
        )
    if returns is not None:
        found["rew"], found["terminated"] = found.pop("returns"), torch.ones_like(found["terminated"])
    return found
