"""Discrete and Dict observations as one array, for networks.

The `action_mask` of a Dict is, as in PettingZoo, the mask of available actions; the other parts are the observation.
"""

from collections.abc import Mapping
from typing import Any

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

MASK = "action_mask"  # available actions, (A,) of 0 and 1: a key of `info`, or of a Dict observation

# A goal environment's achieved goal is part of its observation anyway.
LEFT_OUT, LAST = ("achieved_goal", MASK), "desired_goal"


class OneHot(gym.spaces.Box):
    """The Box of one-hot vectors of a Discrete space, which is kept as `discrete`."""

    def __init__(self, discrete: gym.spaces.Discrete) -> None:
        super().__init__(0, 1, (int(discrete.n),), np.float32)
        self.discrete = discrete


def parts(space: gym.spaces.Dict) -> list[str]:
    """The keys of a Dict in the order of joining: the goal is last; the achieved goal and the mask are left out."""
    return sorted((key for key in space.spaces if key not in LEFT_OUT), key=lambda key: (key == LAST, key))


def lone_image(space: gym.spaces.Dict) -> str | None:
    """The key of a Dict's only part where that is an image, bytes of three axes; None otherwise."""
    first, *others = parts(space) or [MASK]
    image = space.spaces.get(first)
    is_image = isinstance(image, gym.spaces.Box) and image.dtype == np.uint8 and len(image.shape) == 3
    return first if is_image and not others else None


def flat_space(space: gym.Space[Any]) -> gym.Space[Any]:
    """The space of `flatten`'s result; Box, a Dict's only image and unknown spaces stay as they are."""
    if isinstance(space, gym.spaces.Discrete):
        return OneHot(space)
    if isinstance(space, gym.spaces.Dict) and (image := lone_image(space)) is not None:
        return space.spaces[image]
    if isinstance(space, gym.spaces.Dict):
        boxes = [flat_space(space.spaces[key]) for key in parts(space)]
        if not boxes or not all(isinstance(box, gym.spaces.Box) for box in boxes):
            return space
        low, high = (np.concatenate([getattr(box, end).ravel() for box in boxes]) for end in ("low", "high"))
        return gym.spaces.Box(low.astype(np.float32), high.astype(np.float32), dtype=np.float32)
    return space


def flatten(space: gym.Space[Any], obs: Any) -> NDArray[Any]:
    """Observations as one array a row: Discrete as one-hot vectors, Dict joined in the order of `parts`, Box as is.

    Args:
        space: Box, Discrete, or Dict of such.
        obs: of that space, with a first axis of B rows throughout.

    Raises:
        ValueError: the space is of another kind, or a part is missing, of another length or out of range.
    """
    if isinstance(space, gym.spaces.Box):
        return np.asarray(obs)
    if isinstance(space, gym.spaces.Discrete):
        index = np.asarray(obs) - space.start
        if index.ndim != 1 or index.dtype.kind not in "iu" or ((index < 0) | (index >= space.n)).any():
            raise ValueError(f"observations are not all in {space}")
        return np.asarray(index[:, None] == np.arange(space.n), np.float32)
    if not isinstance(space, gym.spaces.Dict) or not isinstance(flat_space(space), gym.spaces.Box):
        raise ValueError(f"observation space {space} is not supported; allowed: Box, Discrete, or Dict of such")
    if not isinstance(obs, Mapping) or not set(parts(space)) <= obs.keys():
        raise ValueError(f"observations have not the parts {', '.join(parts(space))} of {space}")
    if (image := lone_image(space)) is not None:
        return np.asarray(obs[image])
    rows = [flatten(space.spaces[key], obs[key]) for key in parts(space)]
    if len({len(row) for row in rows}) > 1:
        raise ValueError(f"the parts {', '.join(parts(space))} of the observations differ in their number of rows")
    return np.concatenate([row.reshape(len(row), int(np.prod(row.shape[1:]))) for row in rows], axis=1)


class FlatObservation(gym.Wrapper[Any, Any, Any, Any]):
    """An environment whose Discrete or Dict observations are flattened as a dataset's are.

    An observation's `action_mask` moves to `info`, where other environments have it.
    """

    def __init__(self, env: gym.Env[Any, Any]) -> None:
        super().__init__(env)
        self.observation_space = flat_space(env.observation_space)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """See `gymnasium.Env.reset`."""
        return self._flattened(*self.env.reset(seed=seed, options=options))

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """See `gymnasium.Env.step`."""
        raw, rew, terminated, truncated, info = self.env.step(action)
        obs, info = self._flattened(raw, info)
        return obs, rew, terminated, truncated, info

    def _flattened(self, raw: Any, info: dict[str, Any]) -> tuple[NDArray[Any], dict[str, Any]]:
        obs = np.asarray(flatten(self.env.observation_space, _with_axis(raw))[0], self.observation_space.dtype)
        return obs, {**info, MASK: np.asarray(raw[MASK])} if isinstance(raw, Mapping) and MASK in raw else info


def _with_axis(observation: Any) -> Any:
    if isinstance(observation, Mapping):
        return {key: _with_axis(value) for key, value in observation.items()}
    return np.asarray(observation)[None]
