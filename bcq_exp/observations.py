"""Observations of one array: what a dataset's and an environment's parts become for a network."""

from collections.abc import Mapping
from typing import Any

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

# A goal environment's achieved goal is part of its observation anyway.
LEFT_OUT, LAST = "achieved_goal", "desired_goal"
MASK = "action_mask"  # the part of a Dict that says which actions are available, and is no feature


class OneHot(gym.spaces.Box):
    """The Box of the one-hot vectors that stand for the values of a Discrete space, which is kept as `discrete`."""

    def __init__(self, discrete: gym.spaces.Discrete) -> None:
        super().__init__(0, 1, (int(discrete.n),), np.float32)
        self.discrete = discrete


def split_mask(space: gym.Space[Any]) -> tuple[gym.Space[Any], gym.Space[Any] | None]:
    """An observation space without its mask of available actions, and the mask's own space, or None."""
    if not isinstance(space, gym.spaces.Dict) or MASK not in space.spaces:
        return space, None
    rest = {key: part for key, part in space.spaces.items() if key != MASK}
    return gym.spaces.Dict(rest), space.spaces[MASK]


def parts(space: gym.spaces.Dict) -> list[str]:
    """The keys of a Dict in the order in which they are joined: the goal last, the achieved one left out."""
    return sorted((key for key in space.spaces if key != LEFT_OUT), key=lambda key: (key == LAST, key))


def flat_space(space: gym.Space[Any]) -> gym.Space[Any]:
    """The space of what `flatten` gives; Box and unknown spaces stay as they are."""
    if isinstance(space, gym.spaces.Discrete):
        return OneHot(space)
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
    rows = [flatten(space.spaces[key], obs[key]) for key in parts(space)]
    if len({len(row) for row in rows}) > 1:
        raise ValueError(f"the parts {', '.join(parts(space))} of the observations differ in their number of rows")
    return np.concatenate([row.reshape(len(row), int(np.prod(row.shape[1:]))) for row in rows], axis=1)


class FlatObservation(gym.ObservationWrapper[Any, Any, Any]):
    """An environment whose Discrete or Dict observations are flattened as a dataset's are."""

    def __init__(self, env: gym.Env[Any, Any]) -> None:
        super().__init__(env)
        self.observation_space = flat_space(env.observation_space)

    def observation(self, observation: Any) -> NDArray[Any]:
        """One observation, flattened."""
        return np.asarray(flatten(self.env.observation_space, _with_axis(observation))[0], self.observation_space.dtype)


def _with_axis(observation: Any) -> Any:
    if isinstance(observation, Mapping):
        return {key: _with_axis(value) for key, value in observation.items()}
    return np.asarray(observation)[None]
