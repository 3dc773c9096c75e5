"""An environment of small images, and recordings of it."""

from typing import Any

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from bcq_exp.data import Transitions

ENV, STACKED_ENV, EPISODE_LENGTH = "Blocks-v0", "StackedBlocks-v0", 10


class Blocks(gym.Env[NDArray[np.uint8], np.int64]):
    """The action that pays 1 is the place, of three, of the bright block in a noisy image; the others pay nothing."""

    observation_space = gym.spaces.Box(0, 255, (1, 36, 36), np.uint8)
    action_space = gym.spaces.Discrete(3)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        return self.next_image(), {}

    def step(self, action: np.int64) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        rew = float(action == self.place)
        return self.next_image(), rew, False, False, {}

    def next_image(self) -> NDArray[np.uint8]:
        self.place = int(self.np_random.integers(3))
        image = self.np_random.integers(100, size=(1, 36, 36), dtype=np.uint8)
        image[:, 12 * self.place : 12 * (self.place + 1)] += 100
        return image


class StackedBlocks(Blocks):
    """It shows the last four images, black ones before the first."""

    observation_space = gym.spaces.Box(0, 255, (4, 36, 36), np.uint8)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        self.shown = np.zeros((4, 36, 36), np.uint8)
        return super().reset(seed=seed)

    def next_image(self) -> NDArray[np.uint8]:
        self.shown = np.concatenate([self.shown[1:], super().next_image()])
        return self.shown


gym.register(ENV, Blocks, max_episode_steps=EPISODE_LENGTH, disable_env_checker=True)
gym.register(STACKED_ENV, StackedBlocks, max_episode_steps=EPISODE_LENGTH, disable_env_checker=True)


def recording(num_episodes: int, *, is_perfect: bool) -> Transitions:
    """Episodes of an agent that always takes the paying action, or of one that acts at random."""
    env, rng = gym.make(ENV), np.random.default_rng(0)
    rows: list[dict[str, Any]] = []
    for episode in range(num_episodes):
        obs, truncated = env.reset(seed=episode)[0], False
        while not truncated:
            act = env.unwrapped.place if is_perfect else int(rng.integers(3))
            obs_next, rew, terminated, truncated, _ = env.step(act)
            rows.append(
                {
                    "obs": obs,
                    "act": act,
                    "rew": rew,
                    "terminated": terminated,
                    "truncated": truncated,
                    "obs_next": obs_next,
                }
            )
            obs = obs_next
    return Transitions.from_columns({key: np.array([row[key] for row in rows]) for key in rows[0]}, "blocks")
