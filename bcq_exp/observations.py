"""Observations of one array: what a dataset's and an environment's parts become for a network."""

from collections.abc import Mapping
from typing import Any

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

# A goal environment's achieved goal is part of its observation anyway.
LEFT_OUT, LAST = "achieved_goal", "desired_goal"


def parts(space: gym.spaces.Dict) -> list[str]:
    """The keys of a Dict in the order in which they are joined: the goal last, the achieved one left out."""
    return sorted((key for key in space.spaces if key != LEFT_OUT), key=lambda key: (key == LAST, key))


def flat_space(space: gym.Space[Any]) -> gym.Space[Any]:
    """The space of what `flatten` gives; Box and unknown spaces stay as they are."""
    if isinstance(space, gym.spaces.Discrete):
        return gym.spaces.Box(0, 1, (int(space.n),), np.float32)
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
        one_hot: NDArray[Any] = np.eye(int(space.n), dtype=np.float32)[index]
        return one_hot
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
