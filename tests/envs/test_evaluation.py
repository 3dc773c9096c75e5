"""Evaluations against episodes run one by one."""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from itertools import pairwise
from typing import Any, Self

import gymnasium as gym
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from bcq_exp.envs import evaluation as module
from bcq_exp.envs.evaluation import EndingEpisodes, Evaluation, evaluate_together

MAX_STEPS = 1000
evaluate = partial(module.evaluate, max_steps=MAX_STEPS)


class CountdownEnv(gym.Env[NDArray[np.float32], np.int64]):
    """Lasts as many steps as it draws when it is reset, in half of the episodes 1 and in half 50, with reward 1."""

    observation_space = gym.spaces.Box(0.0, 50.0, (1,), np.float32)
    action_space = gym.spaces.Discrete(2)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float32], dict[str, Any]]:
        super().reset(seed=seed)
        self._left = int(self.np_random.choice([1, 50]))
        return self._obs(), {}

    def step(self, action: np.int64) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        self._left -= 1
        return self._obs(), 1.0, self._left == 0, False, {}

    def _obs(self) -> NDArray[np.float32]:
        return np.array([self._left], np.float32)


class EndlessEnv(CountdownEnv):
    """Ends as `CountdownEnv` does where the episode has one step, and never elsewhere."""

    def step(self, action: np.int64) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        obs, rew, terminated, truncated, info = super().step(action)
        return obs, rew, terminated and self._length == 1, truncated, info

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float32], dict[str, Any]]:
        obs, info = super().reset(seed=seed, options=options)
        self._length = self._left
        return obs, info

    def _obs(self) -> NDArray[np.float32]:
        return np.array([max(self._left, 0)], np.float32)


class MaskedEnv(CountdownEnv):
    """Of its four actions some are available in each step; taking another is an error.

    Args:
        missing: steps of an episode whose `info` lacks the mask, which then has every action.
        is_dead: whether nothing is available.
    """

    action_space = gym.spaces.Discrete(4, start=2)

    def __init__(self, missing: tuple[int, ...] = (), is_dead: bool = False) -> None:
        self.missing, self.is_dead = missing, is_dead

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float32], dict[str, Any]]:
        self.num_steps = 0
        obs, _ = super().reset(seed=seed, options=options)
        return obs, self._info()

    def step(self, action: np.int64) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        assert self.mask[action - 2], "an unavailable action was taken"
        self.num_steps += 1
        obs, rew, terminated, truncated, _ = super().step(action)
        return obs, rew, terminated, truncated, {} if terminated else self._info()

    def _info(self) -> dict[str, Any]:
        mask = np.ones(4) if self.missing else self.np_random.permutation([0, 0, 1, 0])
        self.mask = mask.astype(np.int8) * (not self.is_dead)
        return {} if self.num_steps in self.missing else {"action_mask": self.mask}


class LinearPolicy(torch.nn.Module):
    """Acts on a linear function of the observation, plus noise of its own where `sigma` is above 0."""

    def __init__(self, weight: list[float], is_discrete: bool, sigma: float = 0.0) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.tensor(weight, dtype=torch.float64))
        self.is_discrete = is_discrete
        self.sigma = sigma
        self.generator = torch.Generator()
        self.seen: list[torch.Tensor] = []
        self.modes: set[tuple[bool, bool]] = set()

    def seed_acting(self, seed: int) -> None:
        self.generator.manual_seed(seed)

    def train(self, mode: bool = True) -> Self:
        return super().train(mode)

    def compute_action(self, obs: NDArray[Any]) -> NDArray[Any]:
        # A sum per row: a matrix product may round differently for different batch sizes.
        drive = (torch.as_tensor(obs, dtype=torch.float64) * self.weight).sum(-1)
        drive = drive + self.sigma * torch.randn(len(obs), generator=self.generator)
        self.seen.append(drive)
        self.modes.add((self.training, torch.is_grad_enabled()))
        if self.is_discrete:
            action: NDArray[Any] = (drive > 0).long().numpy()
            return action
        return drive.clamp(-2.0, 2.0).float().unsqueeze(-1).numpy()


BALANCING = [0.1, 0.5, 1.0, 0.6]
CASES = {
    "CartPole-v1": lambda: LinearPolicy([0.0, 0.0, 1.0, 0.0], is_discrete=True),
    "Pendulum-v1": lambda: LinearPolicy([-3.0, -5.0, -1.0], is_discrete=False),
    "Countdown-v0": lambda: LinearPolicy([1.0], is_discrete=True),
}


@pytest.fixture(autouse=True)
def _countdown() -> Iterator[None]:
    gym.register("Countdown-v0", lambda **kwargs: CountdownEnv(**kwargs))
    gym.register("Endless-v0", lambda **kwargs: EndlessEnv(**kwargs))
    gym.register("Masked-v0", lambda **kwargs: MaskedEnv(**kwargs), disable_env_checker=True)
    yield
    for env_id in ("Countdown-v0", "Endless-v0", "Masked-v0"):
        del gym.registry[env_id]


def episodes_one_by_one(policy: LinearPolicy, env_id: str, num_episodes: int, seed: int) -> tuple[Any, Any]:
    """Returns and lengths by the plain loop, on one environment without vectorisation."""
    env = gym.make(env_id)
    returns, lengths = [], []
    for episode_seed in np.random.SeedSequence(seed).generate_state(num_episodes):
        obs, _ = env.reset(seed=int(episode_seed))
        return_, length, done = 0.0, 0, False
        while not done:
            with torch.no_grad():
                obs, rew, terminated, truncated, _ = env.step(policy.compute_action(obs[None])[0])
            return_, length, done = return_ + float(rew), length + 1, terminated or truncated
        returns.append(return_)
        lengths.append(length)
    return np.array(returns), np.array(lengths)


@pytest.mark.parametrize("env_id", CASES)
@pytest.mark.parametrize("num_envs", [1, 3, 7, 20])
def test_equals_the_plain_loop_whatever_num_envs(env_id: str, num_envs: int) -> None:
    policy = CASES[env_id]()
    returns, lengths = episodes_one_by_one(policy, env_id, 7, seed=5)
    evaluation = evaluate(policy, env_id, 7, seed=5, num_envs=num_envs)
    np.testing.assert_array_equal(evaluation.returns, returns)
    np.testing.assert_array_equal(evaluation.lengths, lengths)
    assert evaluation.returns.dtype == np.float64
    assert evaluation.lengths.dtype == np.int64


def test_short_episodes_count_no_more_than_long_ones() -> None:
    evaluation = evaluate(CASES["Countdown-v0"](), "Countdown-v0", 200, seed=0, num_envs=4)
    # The first 200 episodes to finish on four environments would be short ones for the most part.
    assert set(evaluation.lengths) == {1, 50}
    assert abs(evaluation.mean - 25.5) < 3 * 24.5 / np.sqrt(200)
    np.testing.assert_array_equal(evaluation.returns, evaluation.lengths)


def test_full_episodes_to_the_time_limit_without_reset_steps() -> None:
    evaluation = evaluate(LinearPolicy(BALANCING, is_discrete=True), "CartPole-v1", 5, seed=0, num_envs=2)
    assert evaluation.lengths.tolist() == [500] * 5  # reward 1 a step: a reset step of reward 0 would show
    assert evaluation.returns.tolist() == [500.0] * 5


def test_each_step_is_reported_with_the_episodes_that_have_ended() -> None:
    policy, seen = CASES["Countdown-v0"](), []
    evaluation = evaluate(policy, "Countdown-v0", 7, 3, num_envs=3, on_step=lambda *so_far: seen.append(so_far))
    assert seen[-1] == (7, evaluation.lengths.sum())
    assert seen[0][1] == 3  # a step of each environment
    assert all(0 <= now[0] - before[0] <= now[1] - before[1] <= 3 for before, now in pairwise(seen))
    # Three episodes begin together: at the first step those of length 1 end.
    assert seen[0][0] == (evaluation.lengths[:3] == 1).sum()


def test_episodes_are_a_function_of_the_seed_and_an_episode_keeps_its_seed_when_there_are_more() -> None:
    policy = CASES["CartPole-v1"]()
    few, many, other = (evaluate(policy, "CartPole-v1", num, seed) for num, seed in ((4, 1), (12, 1), (12, 2)))
    np.testing.assert_array_equal(few.returns, many.returns[:4])
    assert len(set(many.returns)) > 1
    assert many.returns.tolist() != other.returns.tolist()


def test_acting_noise_restarts_from_the_seed() -> None:
    policy = LinearPolicy(BALANCING, is_discrete=True, sigma=2.0)
    first = evaluate(policy, "CartPole-v1", 6, seed=3)
    torch.randn(10)
    np.random.default_rng(0)
    policy.generator.manual_seed(99)
    second = evaluate(policy, "CartPole-v1", 6, seed=3)
    np.testing.assert_array_equal(first.returns, second.returns)


@pytest.mark.parametrize("mode", [True, False])
def test_acts_in_evaluation_mode_without_graph_and_restores_the_mode(mode: bool) -> None:
    policy = CASES["CartPole-v1"]().train(mode)
    evaluate(policy, "CartPole-v1", 2, seed=0)
    assert policy.modes == {(False, False)}
    assert policy.weight.requires_grad
    assert all(drive.grad_fn is None and not drive.requires_grad for drive in policy.seen)
    assert policy.training is mode


def test_restores_the_mode_when_acting_fails() -> None:
    policy = LinearPolicy([1.0, 1.0], is_discrete=True)  # two weights for four observations
    with pytest.raises(RuntimeError, match="size"):
        evaluate(policy, "CartPole-v1", 1, seed=0)
    assert policy.training


def test_statistics_by_hand() -> None:
    evaluation = Evaluation(np.array([1.0, 2.0, 6.0]), np.array([4, 5, 9]))
    assert evaluation.mean == 3.0
    assert evaluation.std == pytest.approx(np.sqrt((4 + 1 + 9) / 3))
    assert evaluation.mean_length == 6.0


@pytest.mark.parametrize(
    ("num_episodes", "seed", "num_envs", "name"), [(0, 0, 1, "num_episodes"), (1, -1, 1, "seed"), (1, 0, 0, "num_envs")]
)
def test_numbers_out_of_range_are_named(num_episodes: int, seed: int, num_envs: int, name: str) -> None:
    with pytest.raises(ValueError, match=f"^{name}="):
        evaluate(CASES["CartPole-v1"](), "CartPole-v1", num_episodes, seed, num_envs=num_envs)


def test_an_episode_that_does_not_end_is_cut_at_the_limit_and_said_to_be(caplog: pytest.LogCaptureFixture) -> None:
    policy = LinearPolicy([1.0], is_discrete=True)
    found = evaluate(policy, "Endless-v0", 20, seed=0, num_envs=3, max_steps=30)
    assert set(found.lengths) == {1, 30}
    assert found.returns.tolist() == found.lengths.tolist()
    assert found.num_cut == (found.lengths == 30).sum()
    assert 0 < found.num_cut < 20
    (line,) = (record.message for record in caplog.records)
    assert line.startswith(
        f"Endless-v0: {found.num_cut} of 20 episodes had not ended after 30 steps and were cut there"
    )
    assert "max_episode_steps" in line
    assert "eval_max_steps" in line


def test_a_limit_that_no_episode_reaches_changes_nothing(caplog: pytest.LogCaptureFixture) -> None:
    policy = CASES["Countdown-v0"]()
    one, other = (evaluate(policy, "Countdown-v0", 9, seed=1, max_steps=limit) for limit in (50, 10**9))
    assert one.returns.tolist() == other.returns.tolist()
    assert one.num_cut == other.num_cut == 0
    assert evaluate(policy, "Countdown-v0", 9, seed=1, max_steps=49).num_cut == (one.lengths == 50).sum()
    assert len(caplog.records) == 1


def test_who_waits_for_the_end_of_an_episode_waits_as_long_as_the_limit() -> None:
    env = EndingEpisodes(gym.make("Endless-v0"), 30, "as many as there are")
    long = next(seed for seed in range(20) if env.reset(seed=seed)[0] == 50)
    for _ in range(3):
        env.reset(seed=long)
        for _ in range(29):
            assert not env.step(0)[2]
    with pytest.raises(
        ValueError, match=r"^Endless-v0: an episode has not ended after 30 steps, as many as there are;"
    ):
        env.step(0)
    ending = EndingEpisodes(gym.make("Countdown-v0"), 50, "")
    ending.reset(seed=long)
    assert [ending.step(0)[2] for _ in range(50)][-1], "an episode may end with the last step"


class Choosing(LinearPolicy):
    """Takes the last available action, in an action space from 2 on."""

    def __init__(self) -> None:
        super().__init__([1.0], is_discrete=True)

    def compute_action(self, obs: NDArray[Any], *, mask: NDArray[Any] | None = None) -> NDArray[Any]:
        if mask is None:
            return np.full(len(obs), 2)
        assert mask.shape == (len(obs), 4)
        if not mask.any(1).all():
            raise ValueError("nothing is available")
        act: NDArray[Any] = 2 + 3 - mask[:, ::-1].argmax(1)
        return act


@pytest.mark.parametrize("num_envs", [1, 4])
def test_actions_are_chosen_among_those_that_the_environment_says_are_available(num_envs: int) -> None:
    """`MaskedEnv` fails where another one is taken; its terminal steps have no mask, and need none."""
    found = evaluate(Choosing(), "Masked-v0", 12, seed=0, num_envs=num_envs)
    assert set(found.lengths) == {1, 50}


@pytest.mark.parametrize("missing", [0, 1, 7])
def test_masks_now_and_then_are_refused(missing: int) -> None:
    gym.registry["Masked-v0"].kwargs = {"missing": (missing,)}
    with pytest.raises(ValueError, match=r"^Masked-v0 has action_mask in the info of some resets and steps and not of"):
        evaluate(Choosing(), "Masked-v0", 12, seed=0, num_envs=2)


def test_a_state_without_an_available_action_is_named() -> None:
    gym.registry["Masked-v0"].kwargs = {"is_dead": True}
    with pytest.raises(ValueError, match=r"^Masked-v0, action_mask: nothing is available"):
        evaluate(Choosing(), "Masked-v0", 2, seed=0)


class Together:
    """Linear policies that act together, and the members that acted in each step."""

    def __init__(self, policies: Sequence[LinearPolicy], num_at_once: int) -> None:
        self.policies, self.num_at_once, self.asked = policies, num_at_once, list[list[int]]()

    def seed_acting(self, seeds: Mapping[int, int]) -> None:
        for member, seed in seeds.items():
            self.policies[member].seed_acting(seed)

    def compute_actions(
        self, members: Sequence[int], obs: NDArray[Any], *, mask: NDArray[Any] | None = None
    ) -> NDArray[Any]:
        self.asked.append(list(members))
        return np.stack([self.policies[member].compute_action(own) for member, own in zip(members, obs, strict=True)])


def cartpole_policies() -> list[LinearPolicy]:
    """They fall after some 10 to 500 steps."""
    return [LinearPolicy([0.0, 0.0, 1.0, drive], is_discrete=True, sigma=0.2) for drive in (-0.3, 0.4, 0.0, 1.0, -1.0)]


@pytest.mark.parametrize("num_at_once", [1, 2, 5])
def test_policies_that_are_evaluated_together_get_what_each_gets_alone(num_at_once: int) -> None:
    policies, seeds = Together(cartpole_policies(), num_at_once), {4: 7, 1: 8, 2: 7, 0: 9}
    seen: list[tuple[int, int]] = []
    found = evaluate_together(
        policies, "CartPole-v1", 4, seeds, max_steps=MAX_STEPS, num_envs=3, on_step=lambda *so_far: seen.append(so_far)
    )
    assert set(found) == {0, 1, 2, 4}
    for member, seed in seeds.items():
        alone = evaluate(cartpole_policies()[member], "CartPole-v1", 4, seed, num_envs=3)
        np.testing.assert_array_equal(found[member].returns, alone.returns)
        np.testing.assert_array_equal(found[member].lengths, alone.lengths)
    assert seen[-1] == (16, sum(evaluation.lengths.sum() for evaluation in found.values()))
    assert seen == sorted(seen)


def test_a_policy_whose_episodes_have_ended_does_not_act_and_the_next_takes_its_place() -> None:
    policies = Together(cartpole_policies(), 2)
    evaluate_together(policies, "CartPole-v1", 1, dict.fromkeys(range(5), 3), max_steps=MAX_STEPS)
    lengths = {
        member: int(evaluate(policy, "CartPole-v1", 1, 3).lengths[0])
        for member, policy in enumerate(cartpole_policies())
    }
    assert {member: sum(member in asked for asked in policies.asked) for member in range(5)} == lengths
    assert max(len(asked) for asked in policies.asked) == 2
    assert [member for asked in policies.asked for member in asked][:2] == [0, 1]
