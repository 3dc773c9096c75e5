"""Returns of a policy over full episodes."""

from collections.abc import Callable
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from bcq_exp.envs import make_vector_env


class ActingPolicy(Protocol):
    """What an evaluation needs of a policy."""

    @property
    def training(self) -> bool:
        """Whether the policy behaves as in training."""

    def train(self, mode: bool = True) -> Any:
        """Chooses training (True) or evaluation (False) behaviour."""

    def seed_acting(self, seed: int) -> None:
        """Restarts the random stream of the policy's own acting noise."""

    def compute_action(self, obs: NDArray[Any]) -> NDArray[Any]:
        """Actions in the environment's units, (B, ...), for the observations (B, ...)."""


@dataclass(frozen=True, slots=True, eq=False)
class Evaluation:
    """Undiscounted returns and lengths of E full episodes.

    Attributes:
        returns: (E,) float64, in units of the environment's reward.
        lengths: (E,) int64, in environment steps.
    """

    returns: NDArray[np.float64]
    lengths: NDArray[np.int64]

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
    """Does what it is given before it returns."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """The result, which is there."""
        done: Future[Any] = Future()
        done.set_result(fn(*args, **kwargs))
        return done


def evaluate(
    policy: ActingPolicy,
    env_id: str,
    num_episodes: int,
    seed: int,
    *,
    num_envs: int = 10,
    on_step: Callable[[int, int], object] | None = None,
) -> Evaluation:
    """Runs `num_episodes` episodes of `env_id`, each to its end and each on a seed of its own.

    The number of episodes is fixed beforehand, so that short episodes count no more than long ones. The result is a
    function of the policy's weights, `seed` and, where the policy acts at random, `num_envs`.

    Args:
        policy: acts in evaluation mode on its own random stream, restarted from `seed`; its mode is restored.
        env_id: see `make_env`.
        num_episodes: E, at least 1.
        seed: at least 0.
        num_envs: episodes that run at the same time; 1 or more.
        on_step: called after each step with the number of episodes that have ended and the steps of all so far.

    Raises:
        ValueError: a number is out of its range, or as `make_env`.
    """
    for name, value, least in (("num_episodes", num_episodes, 1), ("num_envs", num_envs, 1), ("seed", seed, 0)):
        if value < least:
            raise ValueError(f"{name}={value}: at least {least} is needed")
    was_training = policy.training
    try:
        policy.train(False)
        policy.seed_acting(seed)
        seeds = np.random.SeedSequence(seed).generate_state(num_episodes).tolist()
        with torch.inference_mode():
            return _rollout(policy, env_id, seeds, num_envs, on_step)
    finally:
        policy.train(was_training)


def _rollout(
    policy: ActingPolicy,
    env_id: str,
    seeds: list[int | None],
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
    num_started = num_envs

    envs = make_vector_env(env_id, num_envs)
    try:
        obs, _ = envs.reset(seed=seeds[:num_envs])
        while (counted := episode < num_episodes).any():
            obs, rew, terminated, truncated, _ = envs.step(policy.compute_action(obs))
            returns[episode[counted]] += rew[counted]
            lengths[episode[counted]] += 1
            if (done := terminated | truncated).any():
                episode[done] = num_started + np.arange(done.sum())
                num_started += done.sum()
                obs, _ = envs.reset(seed=[seeds[k % num_episodes] for k in episode], options={"reset_mask": done})
            if on_step:
                num_running = int((episode < num_episodes).sum())
                on_step(min(int(num_started), num_episodes) - num_running, int(lengths.sum()))
    finally:
        envs.close()
    return Evaluation(returns, lengths)
