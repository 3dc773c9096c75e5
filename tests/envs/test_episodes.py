"""Episodes against the environments that they run in."""

from collections.abc import Iterator
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from numpy.typing import NDArray

from bcq_exp.envs.environments import make_env
from bcq_exp.envs.episodes import Episodes


class Counted(gym.Env[NDArray[np.float32], np.int64]):
    """Lasts as many steps as its seed says, and counts the steps and the closings of all copies."""

    observation_space = gym.spaces.Box(-np.inf, np.inf, (2,), np.float32)
    action_space = gym.spaces.Discrete(2)
    num_steps = num_closed = 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        assert seed is not None
        self.seed, self.left = seed, seed
        return self._obs(), {}

    def step(self, action: np.int64) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        Counted.num_steps += 1
        self.left -= 1
        return self._obs(), 0.5, self.left == 0, False, {}

    def close(self) -> None:
        Counted.num_closed += 1

    def _obs(self) -> NDArray[np.float64]:
        return np.array([self.seed, self.left], np.float64)


@pytest.fixture(autouse=True)
def _counted() -> Iterator[None]:
    Counted.num_steps = Counted.num_closed = 0
    gym.register("Counted-v0", Counted, disable_env_checker=True)
    yield
    del gym.registry["Counted-v0"]


def play(episodes: Episodes) -> list[list[list[float]]]:
    """The observations before each step."""
    seen = []
    episodes.begin()
    while not episodes.is_over:
        seen.append(episodes.obs().tolist())
        episodes.step(np.zeros(len(seen[0]), np.int64))
    return seen


def test_a_copy_takes_the_next_episode_and_rests_behind_the_last_one() -> None:
    episodes = Episodes("Counted-v0", [1, 4, 2], num_envs=2, max_steps=100)
    assert play(episodes) == [[[1, 1], [4, 4]], [[2, 2], [4, 3]], [[2, 1], [4, 2]], [[2, 1], [4, 1]]]
    assert episodes.lengths == [1, 4, 2]
    assert episodes.returns == [0.5, 2.0, 1.0]
    assert (episodes.num_ended, episodes.num_cut) == (3, 0)
    assert Counted.num_steps == episodes.num_steps == 7
    episodes.close()
    assert Counted.num_closed == 2


def test_an_episode_is_cut_after_the_last_step_that_it_may_have() -> None:
    episodes = Episodes("Counted-v0", [3, 4, 9], num_envs=3, max_steps=4)
    play(episodes)
    assert episodes.lengths == [3, 4, 4]
    assert (episodes.num_ended, episodes.num_cut) == (3, 1)


def test_observations_have_the_type_of_their_space_and_there_are_no_more_copies_than_episodes() -> None:
    episodes = Episodes("Counted-v0", [5], num_envs=8, max_steps=4)
    episodes.begin()
    assert (episodes.obs().dtype, episodes.obs().shape) == (np.float32, (1, 2))


def test_an_episode_begins_as_an_environment_of_its_seed_does() -> None:
    episodes = Episodes("CartPole-v1", [3, 8], num_envs=1, max_steps=1)
    episodes.begin()
    for seed in (3, 8):
        np.testing.assert_array_equal(episodes.obs()[0], make_env("CartPole-v1").reset(seed=seed)[0])
        episodes.step(np.zeros(1, np.int64))
