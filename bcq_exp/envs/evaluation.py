"""Returns of a policy over full episodes."""

import logging
from collections.abc import Callable, Mapping
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from functools import cache
from typing import Any, Protocol

import gymnasium as gym
import numpy as np
import torch
from numpy.typing import NDArray

from bcq_exp.envs.environments import make_env, make_vector_env, spaces
from bcq_exp.envs.observations import MASK

log = logging.getLogger(__name__)


class ActingPolicy(Protocol):
    """A policy, as an evaluation uses it."""

    @property
    def training(self) -> bool:
        """Whether the policy behaves as in training."""

    def train(self, mode: bool = True) -> Any:
        """Chooses training (True) or evaluation (False) behaviour."""

    def seed_acting(self, seed: int) -> None:
        """Restarts the random stream of the policy's own acting noise."""

    def compute_action(self, obs: NDArray[Any], *, mask: NDArray[Any] | None = None) -> NDArray[Any]:
        """Actions in the environment's units, (B, ...), for observations (B, ...) and available actions (B, A)."""


@dataclass(frozen=True, slots=True, eq=False)
class Evaluation:
    """Undiscounted returns and lengths of E full episodes.

    Attributes:
        returns: (E,) float64, in units of the environment's reward.
        lengths: (E,) int64, in environment steps.
        num_cut: episodes that had not ended at the limit of steps: their returns are of what was played.
    """

    returns: NDArray[np.float64]
    lengths: NDArray[np.int64]
    num_cut: int = 0

    @property
    def mean(self) -> float:
        """Mean return."""
        return float(self.returns.mean())

    @property
    def std(self) -> float:
        """Standard deviation of the returns, divided by E."""
        return float(self.returns.std())

    @property
    def mean_length(self) -> float:
        """Mean episode length in environment steps."""
        return float(self.lengths.mean())


class AtOnce(Executor):
    """An executor that runs each call before `submit` returns."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Run the call; its future is done."""
        done: Future[Any] = Future()
        done.set_result(fn(*args, **kwargs))
        return done


def evaluate(
    policy: ActingPolicy,
    env_id: str,
    num_episodes: int,
    seed: int,
    *,
    max_steps: int,
    num_envs: int = 10,
    on_step: Callable[[int, int], object] | None = None,
) -> Evaluation:
    """Runs `num_episodes` episodes of `env_id`, each on a seed of its own and each to its end, or to `max_steps`.

    The number of episodes is fixed beforehand, so that short episodes count no more than long ones. The result is a
    function of the policy's weights, `seed` and, where the policy acts at random, `num_envs`. Where the environment has
    `action_mask` in its `info` the policy chooses among these actions.

    Args:
        policy: acts in evaluation mode on its own random stream, restarted from `seed`; its mode is restored.
        env_id: see `make_env`.
        num_episodes: E, at least 1.
        seed: at least 0.
        max_steps: steps after which an episode is cut, 1 or more; a warning says that it was.
        num_envs: episodes that run at the same time; 1 or more.
        on_step: called after each step with the number of episodes that have ended and the steps of all so far.

    Raises:
        ValueError: a number is out of its range, the environment gives masks now and then only or none that can be
            used, or as `make_env`.
    """
    numbers = {"num_episodes": num_episodes, "num_envs": num_envs, "max_steps": max_steps, "seed": seed}
    for name, value in numbers.items():
        if value < (least := 0 if name == "seed" else 1):
            raise ValueError(f"{name}={value}: at least {least} is needed")
    was_training = policy.training
    try:
        policy.train(False)
        policy.seed_acting(seed)
        seeds = np.random.SeedSequence(seed).generate_state(num_episodes).tolist()
        with torch.inference_mode():
            evaluation = _rollout(policy, env_id, seeds, max_steps, num_envs, on_step)
    finally:
        policy.train(was_training)
    if evaluation.num_cut:
        log.warning(
            "%s: %d of %d episodes had not ended after %d steps and were cut there, so returns are of what was played;"
            " give the environment a time limit (gymnasium.register, max_episode_steps), or a larger eval_max_steps",
            env_id,
            evaluation.num_cut,
            num_episodes,
            max_steps,
        )
    return evaluation


def _rollout(
    policy: ActingPolicy,
    env_id: str,
    seeds: list[int | None],
    max_steps: int,
    num_envs: int,
    on_step: Callable[[int, int], object] | None,
) -> Evaluation:
    num_episodes = len(seeds)
    num_envs = min(num_envs, num_episodes)
    returns = np.zeros(num_episodes)
    lengths = np.zeros(num_episodes, dtype=np.int64)
    # The episode that each sub-environment runs. Those from `num_episodes` on are not counted: they keep a
    # sub-environment busy until the last counted episode has ended.
    episode = np.arange(num_envs)
    num_started, num_cut = num_envs, 0
    num_steps = np.zeros(num_envs, dtype=np.int64)  # of the episode that each sub-environment runs

    envs = make_vector_env(env_id, num_envs)
    masks = Masks(env_id, envs.single_action_space, num_envs)
    try:
        obs, infos = envs.reset(seed=seeds[:num_envs])
        masks.take(infos, np.ones(num_envs, np.bool_))
        while (counted := episode < num_episodes).any():
            obs, rew, terminated, truncated, infos = envs.step(masks.choose(policy, obs))
            returns[episode[counted]] += rew[counted]
            lengths[episode[counted]] += 1
            num_steps += 1
            ended = terminated | truncated
            cut = ~ended & (num_steps >= max_steps)
            num_cut += int((cut & counted).sum())
            done = ended | cut
            masks.take(infos, ~done)
            if done.any():
                episode[done] = num_started + np.arange(done.sum())
                num_started += done.sum()
                num_steps[done] = 0
                obs, infos = envs.reset(seed=[seeds[k % num_episodes] for k in episode], options={"reset_mask": done})
                masks.take(infos, done)
            if on_step:
                num_running = int((episode < num_episodes).sum())
                on_step(min(int(num_started), num_episodes) - num_running, int(lengths.sum()))
    finally:
        envs.close()
    return Evaluation(returns, lengths, num_cut)


class EndingEpisodes(gym.Wrapper[Any, Any, Any, Any]):
    """An environment that raises where an episode does not end, for loops that would wait for its end for ever.

    Args:
        env: an environment.
        max_steps: of an episode.
        limit: origin of that number, for the message.
    """

    def __init__(self, env: gym.Env[Any, Any], max_steps: int, limit: str) -> None:
        super().__init__(env)
        self.max_steps, self.limit, self.num_steps = max_steps, limit, 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """See `gymnasium.Env.reset`."""
        self.num_steps = 0
        return self.env.reset(seed=seed, options=options)

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """See `gymnasium.Env.step`; raises ValueError where the episode goes beyond the limit."""
        obs, rew, terminated, truncated, info = self.env.step(action)
        self.num_steps += 1
        if self.num_steps >= self.max_steps and not (terminated or truncated):
            name = self.spec.id if self.spec else self.env
            raise ValueError(
                f"{name}: an episode has not ended after {self.max_steps} steps, {self.limit}; give the environment a"
                " time limit (gymnasium.register, max_episode_steps)"
            )
        return obs, rew, terminated, truncated, info


class Masks:
    """The available actions of environments that run together, as their `info` gives them.

    Args:
        env_id: of the environments.
        space: of their actions; masks of continuous actions have another meaning and are left alone.
        num_envs: N.
    """

    def __init__(self, env_id: str, space: gym.Space[Any], num_envs: int) -> None:
        self.env_id = env_id
        self.is_discrete = isinstance(space, gym.spaces.Discrete)
        self.rows: list[Any] = [None] * num_envs
        self.is_given: bool | None = None  # not known before the first reset

    def take(self, infos: Mapping[str, Any], is_running_N: NDArray[np.bool_]) -> None:
        """Read the masks of a reset or a step, for the environments whose episodes continue, (N,) bool."""
        if not self.is_discrete or not is_running_N.any():
            return
        given_N = infos.get(f"_{MASK}", np.zeros(len(self.rows), np.bool_))
        self.is_given = bool(given_N.any()) if self.is_given is None else self.is_given
        if (given_N[is_running_N] != self.is_given).any():
            raise ValueError(
                f"{self.env_id} has {MASK} in the info of some resets and steps and not of others; it must be in all,"
                " or in none"
            )
        for index in np.flatnonzero(is_running_N & given_N):
            self.rows[index] = infos[MASK][index]

    def choose(self, policy: ActingPolicy, obs: NDArray[Any]) -> NDArray[Any]:
        """The policy's actions among the available ones."""
        if not self.is_given:
            return policy.compute_action(obs)
        try:
            return policy.compute_action(obs, mask=np.array(self.rows))
        except ValueError as error:
            raise ValueError(f"{self.env_id}, {MASK}: {error}") from error


@cache
def gives_masks(env_id: str) -> bool:
    """Whether an environment has masks of its available discrete actions; raises like `make_env`."""
    if not isinstance(spaces(env_id)[1], gym.spaces.Discrete):
        return False
    env = make_env(env_id)
    try:
        return MASK in env.reset(seed=0)[1]
    finally:
        env.close()


def check_masks(env_id: str, source: str, *, has_masks: bool) -> None:
    """Check that a dataset has masks of available actions where its environment has.

    Args:
        env_id: where policies are evaluated.
        source: of the dataset, for the message.
        has_masks: whether the dataset has them.

    Raises:
        ValueError: the dataset has masks and the environment has none, so that policies would take unavailable actions.
            Where the environment alone has them, a warning says what follows.
    """
    gives = gives_masks(env_id)
    if has_masks and not gives:
        raise ValueError(
            f"{source} has masks of available actions, {env_id} gives none in evaluation ({MASK} in info, or in a Dict"
            " observation): policies would take actions that are not available; give dataset.env an environment that"
            " has masks, or a dataset without mask and mask_next"
        )
    if gives and not has_masks:
        log.warning(
            "%s gives masks of available actions, %s has none: what is learned is about all actions, and only the"
            " available ones are taken in evaluation; record mask and mask_next to learn with them",
            env_id,
            source,
        )
