"""Conversion of actions between policy units and environment units.

Shape suffixes: B batch, A number of actions.
"""

import math
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

BOUND_METHODS = ("clip", "tanh", None)
TANH_LIMIT = 1 - 2.0**-20  # largest |tanh(x)| that the inverse maps back: keeps it finite and exact in float32


class ActionMap:
    """Converts a policy's actions to the environment's, and back.

    Discrete actions are indices from 0 on; the space's `start` is added. Continuous ones are bounded by
    `action_bound_method` ("clip" to [-1, 1], "tanh", or None: unchanged), then, with `action_scaling`, [-1, 1] is
    mapped to the Box.

    Args:
        action_space: a Box with finite bounds (wherever actions are bounded or scaled) or Discrete.
        action_scaling: whether [-1, 1] is mapped to the Box.
        action_bound_method: "clip", "tanh" or None.

    Raises:
        ValueError: a space of another kind, an unknown method, scaling or bounding to a Box without finite bounds, or
            bounding without scaling where the Box reaches beyond [-1, 1], since part of it could never be reached.
    """

    def __init__(
        self, action_space: gym.Space[object], *, action_scaling: bool, action_bound_method: str | None
    ) -> None:
        self.space = action_space
        self.is_discrete = isinstance(action_space, gym.spaces.Discrete)
        self.action_scaling = action_scaling and not self.is_discrete
        self.action_bound_method = None if self.is_discrete else action_bound_method
        if action_bound_method not in BOUND_METHODS:
            raise ValueError(f"action_bound_method={action_bound_method!r} is unknown; choose clip, tanh or None")
        if isinstance(action_space, gym.spaces.Discrete):
            self.start, self.act_dim = int(action_space.start), int(action_space.n)
            return
        if not isinstance(action_space, gym.spaces.Box):
            raise ValueError(f"action_space={action_space} is neither a Box nor Discrete")
        self.low, self.high = action_space.low, action_space.high
        self.act_dim = math.prod(action_space.shape)
        is_finite = bool(np.isfinite(self.low).all() and np.isfinite(self.high).all())
        if action_scaling and not (is_finite and bool((self.low < self.high).all())):
            raise ValueError(f"action_scaling=True needs a Box with finite bounds low < high, found {action_space}")
        if not action_scaling and action_bound_method is not None and (abs(self.low).max() > 1 or self.high.max() > 1):
            raise ValueError(
                f"action_bound_method={action_bound_method!r} keeps actions in [-1, 1], but {action_space} reaches"
                f" beyond: part of it could never be taken; set action_scaling=True"
            )

    @property
    def max_action(self) -> float:
        """Largest magnitude of an action in policy units; networks bound their outputs by it."""
        return math.atanh(TANH_LIMIT) if self.action_bound_method == "tanh" else 1.0

    def available(self, mask: ArrayLike) -> NDArray[np.bool_]:
        """Convert an environment's mask of 0 and 1 to bool, (B, A), and check it.

        Raises:
            ValueError: another shape or other values, a row without an available action, or continuous actions.
        """
        mask_BA = np.asarray(mask)
        if not self.is_discrete:
            raise ValueError(f"a mask of available actions was given; the actions are continuous, {self.space}")
        if mask_BA.ndim != 2 or mask_BA.shape[1] != self.act_dim:
            raise ValueError(f"the mask has shape {mask_BA.shape}; allowed: (B, {self.act_dim}), a row an observation")
        if not np.isin(mask_BA, (0, 1)).all():
            raise ValueError(f"the mask has values {np.unique(mask_BA)[:5].tolist()}; allowed: 0 and 1")
        has_action_B = mask_BA.any(axis=1)
        if not has_action_B.all():
            raise ValueError(f"row {has_action_B.argmin()} of the mask has no available action; there must be one")
        return mask_BA.astype(np.bool_)

    def map_action(self, act: NDArray[np.generic]) -> NDArray[np.generic]:
        """Convert policy units (*, A), or indices (*), to environment units of the same shape."""
        if self.is_discrete:
            return np.asarray(act) + self.start
        return np.asarray(self._in_box(np, np.asarray(act, dtype=self.low.dtype), self.low, self.high))

    def map_tensor(self, act: Tensor) -> Tensor:
        """`map_action` for tensors; its result has the type of the space's bounds."""
        if self.is_discrete:
            return act + self.start
        low, high = (torch.as_tensor(bound, device=act.device) for bound in (self.low, self.high))
        mapped: Tensor = self._in_box(torch, act.to(low.dtype), low, high)
        return mapped

    def _in_box(self, library: Any, act: Any, low: Any, high: Any) -> Any:
        """Actions in the Box; `library` is numpy or torch, of which all the values are."""
        if self.action_bound_method == "clip":
            act = library.clip(act, -1, 1)
        elif self.action_bound_method == "tanh":
            act = library.tanh(act)
        if self.action_scaling:
            act = low + (high - low) * (act + 1) / 2
        return library.clip(act, low, high)

    def map_action_inverse(self, act: NDArray[np.generic]) -> NDArray[np.generic]:
        """Convert environment units to policy units, of the same shape, as `learn` takes them."""
        if self.is_discrete:
            return np.asarray(act) - self.start
        act = np.asarray(act, dtype=self.low.dtype)
        if self.action_scaling:
            act = 2 * (act - self.low) / (self.high - self.low) - 1
        if self.action_bound_method == "tanh":
            act = np.arctanh(np.clip(act, -TANH_LIMIT, TANH_LIMIT))
        return act
