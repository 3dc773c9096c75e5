"""Episodes that run at the same time, each to its end."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bcq_exp.envs.environments import make_env
from bcq_exp.envs.masks import Masks


class Episodes:
    """A policy's E episodes in N copies of an environment, each on a seed of its own.

    A copy takes the next episode when its own has ended. Behind the last one it is not stepped any more, and its
    observation and mask stay as they are.

    Args:
        env_id: see `make_env`.
        seeds: of the episodes, E of them.
        num_envs: N, or E where that is less.
        max_steps: steps after which an episode is cut.

    Attributes:
        returns, lengths: of each episode so far.
        num_ended, num_cut: episodes that have ended, and those of them that were cut.
        num_steps: of all episodes so far.
    """

    def __init__(self, env_id: str, seeds: Sequence[int], *, num_envs: int, max_steps: int) -> None:
        num_envs = min(num_envs, len(seeds))
        self.seeds, self.max_steps = seeds, max_steps
        self.returns, self.lengths = [0.0] * len(seeds), [0] * len(seeds)
        self.num_ended = self.num_cut = self.num_steps = 0
        self._waiting = iter(range(len(seeds)))
        self._running: dict[int, int] = {}  # the episode of each copy that has one
        self._envs = [make_env(env_id) for _ in range(num_envs)]
        self._rows: list[Any] = [None] * num_envs  # the copies' observations
        self._masks = Masks(env_id, self._envs[0].action_space, num_envs)

    @property
    def is_over(self) -> bool:
        """Whether all episodes have ended."""
        return self.num_ended == len(self.seeds)

    def begin(self) -> None:
        """Begin an episode in each copy."""
        for index in range(len(self._envs)):
            self._begin(index)

    def obs(self) -> NDArray[Any]:
        """The copies' observations, (N, *S)."""
        return np.stack(self._rows, dtype=self._envs[0].observation_space.dtype)

    @property
    def has_masks(self) -> bool:
        """Whether the environment says which actions are available."""
        return bool(self._masks.is_given)

    def mask(self) -> NDArray[Any]:
        """The copies' available actions, (N, A), where it does."""
        return np.array(self._masks.rows)

    def step(self, actions: NDArray[Any]) -> None:
        """Step the copies whose episodes run.

        Args:
            actions: in the environment's units, (N, ...).
        """
        for index, episode in list(self._running.items()):
            obs, rew, terminated, truncated, info = self._envs[index].step(actions[index])
            self.returns[episode] += float(rew)
            self.lengths[episode] += 1
            self.num_steps += 1
            has_ended = terminated or truncated
            if has_ended or self.lengths[episode] >= self.max_steps:
                self.num_ended += 1
                self.num_cut += not has_ended
                self._begin(index)
            else:
                self._take(index, obs, info)

    def close(self) -> None:
        """Close the copies."""
        for env in self._envs:
            env.close()

    def _begin(self, index: int) -> None:
        """Begin the next episode in a copy, if one is left."""
        self._running.pop(index, None)
        if (episode := next(self._waiting, None)) is not None:
            self._running[index] = episode
            self._take(index, *self._envs[index].reset(seed=self.seeds[episode]))

    def _take(self, index: int, obs: Any, info: dict[str, Any]) -> None:
        self._rows[index] = obs
        self._masks.take(index, info)
