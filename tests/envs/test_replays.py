"""Episodes that are played again: what they look like, and that an evaluation is what it is without them."""

import sys
from collections.abc import Iterator
from importlib.util import find_spec
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from numpy.typing import NDArray

from bcq_exp.envs.environments import make_env, spaces
from bcq_exp.envs.evaluation import episode_seeds, evaluate
from bcq_exp.envs.replays import FPS, KeptSteps, NotRepeated, check_drawn, pictures


class Counter(gym.Env[NDArray[np.float32], np.int64]):
    """A picture of the number of steps and the last action; the reward is a random number of the environment's own."""

    metadata = {"render_modes": ["rgb_array"]}  # noqa: RUF012 - as Gymnasium has it
    observation_space = gym.spaces.Box(0, 100, (1,), np.float32)
    action_space = gym.spaces.Discrete(200)
    drawn: Any = np.uint8

    def __init__(self, render_mode: str | None = None, *, is_random: bool = False) -> None:
        self.render_mode, self.is_random = render_mode, is_random

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.num_steps, self.last = 0, 0
        self.length = int(self.np_random.integers(5, 30))
        return np.zeros(1, np.float32), {}

    def step(self, action: np.int64) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.num_steps, self.last = self.num_steps + 1, int(action)
        rew = float(np.random.default_rng().normal() if self.is_random else self.np_random.normal())
        return np.full(1, self.num_steps, np.float32), rew, self.num_steps == self.length, False, {}

    def render(self) -> Any:
        return np.full((4, 6, 3), (self.num_steps, self.last, 0), self.drawn)


class Guessing:
    """A policy that acts at random, from its own stream."""

    training = False

    def __init__(self, env_id: str) -> None:
        self.space = spaces(env_id)[1]

    def train(self, mode: bool = True) -> None:
        self.training = mode

    def seed_acting(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)

    def compute_action(self, obs: NDArray[Any], *, mask: NDArray[Any] | None = None) -> NDArray[Any]:
        return self.rng.integers(self.space.n, size=len(obs))  # type: ignore[attr-defined]


@pytest.fixture(autouse=True)
def _counters() -> Iterator[None]:
    gym.register("Counter-v0", Counter)
    gym.register("Random-v0", Counter, kwargs={"is_random": True})
    yield
    for name in ("Counter-v0", "Random-v0"):
        gym.registry.pop(name)


def test_the_first_episode_is_seen_from_beginning_to_end() -> None:
    policy = KeptSteps(Guessing("Counter-v0"))
    found = evaluate(policy, "Counter-v0", 7, 3, max_steps=100, num_envs=3)
    plain = evaluate(Guessing("Counter-v0"), "Counter-v0", 7, 3, max_steps=100, num_envs=3)
    np.testing.assert_array_equal(found.returns, plain.returns)
    steps, seed = policy.steps[: found.lengths[0]], episode_seeds(3, 7)[0]
    shown = pictures("Counter-v0", seed, steps, found.returns[0], 500)
    assert [picture[0, 0].tolist() for picture in shown] == [
        [number, act, 0] for number, act in enumerate([0, *(int(step.act) for step in steps)])
    ]
    few = pictures("Counter-v0", seed, steps, found.returns[0], 4)
    length = len(steps)
    assert [int(picture[0, 0, 0]) for picture in few] == [0, round(length / 3), round(2 * length / 3), length]


def test_an_episode_that_goes_another_way_is_not_shown() -> None:
    policy = KeptSteps(Guessing("Random-v0"))
    found = evaluate(policy, "Random-v0", 1, 0, max_steps=100)
    with pytest.raises(NotRepeated, match=r"Random-v0: seed and actions do not decide its return: "):
        pictures("Random-v0", episode_seeds(0, 1)[0], policy.steps[: found.lengths[0]], found.returns[0], 9)
    policy = KeptSteps(Guessing("Counter-v0"))
    found = evaluate(policy, "Counter-v0", 1, 0, max_steps=100)
    seed, steps = episode_seeds(0, 1)[0], policy.steps[: found.lengths[0]]
    with pytest.raises(NotRepeated, match=f"decide its course, another one at step {len(steps) + 1}"):
        pictures("Counter-v0", seed, [*steps, steps[-1]], found.returns[0], 9)
    with pytest.raises(NotRepeated, match="decide its course, another one at step 3"):
        pictures("Counter-v0", seed, [*steps[:2], *steps[3:]], found.returns[0], 9)


def test_an_episode_that_is_cut_is_shown_up_to_its_cut() -> None:
    policy = KeptSteps(Guessing("Counter-v0"))
    found = evaluate(policy, "Counter-v0", 1, 0, max_steps=4)
    shown = pictures("Counter-v0", episode_seeds(0, 1)[0], policy.steps[: found.lengths[0]], found.returns[0], 500)
    assert [int(picture[0, 0, 0]) for picture in shown] == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(("env_id", "fps"), [("Counter-v0", FPS), ("CartPole-v1", 50.0)])
def test_an_environment_has_its_own_rate_if_any(env_id: str, fps: float) -> None:
    if env_id == "CartPole-v1":
        pytest.importorskip("pygame")
    assert check_drawn(env_id) == fps


def test_an_environment_that_cannot_be_drawn_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(
        ValueError, match=r"Treatment-v0' cannot be drawn: its render modes are none, needed is rgb_arr"
    ):
        check_drawn("bcq_exp/Treatment-v0")
    monkeypatch.setattr(Counter, "drawn", np.float32)
    with pytest.raises(ValueError, match=r"drawn: TypeError: render\(\) gave float32 \(4, 6, 3\), not a uint8 array"):
        check_drawn("Counter-v0")
    for name in [name for name in sys.modules if name.partition(".")[0] == "pygame"]:
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setitem(sys.modules, "pygame", None)
    with pytest.raises(ValueError, match=r"the module 'pygame' is not installed; run `pip install 'gymnasium\[classic"):
        check_drawn("CartPole-v1")


@pytest.mark.skipif(not find_spec("ale_py") or not find_spec("cv2"), reason="no Atari")
def test_a_game_is_seen_in_colours_whatever_its_observations_are() -> None:
    policy = KeptSteps(Guessing("ALE/Breakout-v5"))
    found = evaluate(policy, "ALE/Breakout-v5", 1, 0, max_steps=20)
    shown = pictures("ALE/Breakout-v5", episode_seeds(0, 1)[0], policy.steps[:20], found.returns[0], 5)
    assert [picture.shape for picture in shown] == [(210, 160, 3)] * 5
    assert any((picture[..., 0] != picture[..., 1]).any() for picture in shown)
    env = make_env("ALE/Breakout-v5")
    assert env.observation_space.shape == (4, 84, 84)
    env.close()
