"""Returns of policies over full episodes."""

import logging
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from itertools import islice
from typing import Any, Protocol, Self

import gymnasium as gym
import numpy as np
import torch
from numpy.typing import NDArray

from bcq_exp.envs.episodes import Episodes
from bcq_exp.envs.observations import MASK

log = logging.getLogger(__name__)


class ActingPolicies(Protocol):
    """Policies that act together in evaluation mode, each on its own random stream, as an evaluation uses them."""

    @property
    def num_at_once(self) -> int:
        """How many may act at once; more would need memory and save no time."""

    def seed_acting(self, seeds: Mapping[int, int]) -> None:
        """Restarts the random streams of the given policies' acting noise."""

    def compute_actions(
        self, members: Sequence[int], obs: NDArray[Any], *, mask: NDArray[Any] | None = None
    ) -> NDArray[Any]:
        """Actions in the environment's units, (M, N, ...), of M of the policies.

        Each gets N observations of its own, (M, N, *S), and their available actions (M, N, A).
        """


class ActingPolicy(Protocol):
    """A policy alone, as an evaluation uses it."""

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

    @classmethod
    def of(cls, episodes: Episodes) -> Self:
        """Read the results of episodes that have ended."""
        return cls(np.array(episodes.returns), np.array(episodes.lengths), episodes.num_cut)

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
    """Evaluates one policy: see `evaluate_together`.

    Args:
        policy: acts in evaluation mode on its own random stream, restarted from `seed`; its mode is restored.
        env_id, num_episodes, seed, max_steps, num_envs, on_step: see `evaluate_together`.

    Raises:
        ValueError: as `evaluate_together`.
    """
    was_training = policy.training
    try:
        policy.train(False)
        return evaluate_together(
            _Alone(policy), env_id, num_episodes, {0: seed}, max_steps=max_steps, num_envs=num_envs, on_step=on_step
        )[0]
    finally:
        policy.train(was_training)


class _Alone:
    """A policy as the only one of a population."""

    num_at_once = 1

    def __init__(self, policy: ActingPolicy) -> None:
        self.policy = policy

    def seed_acting(self, seeds: Mapping[int, int]) -> None:
        self.policy.seed_acting(seeds[0])

    def compute_actions(
        self, members: Sequence[int], obs: NDArray[Any], *, mask: NDArray[Any] | None = None
    ) -> NDArray[Any]:
        act = self.policy.compute_action(obs[0]) if mask is None else self.policy.compute_action(obs[0], mask=mask[0])
        return act[None]


def evaluate_together(
    policies: ActingPolicies,
    env_id: str,
    num_episodes: int,
    seeds: Mapping[int, int],
    *,
    max_steps: int,
    num_envs: int = 10,
    on_step: Callable[[int, int], object] | None = None,
) -> dict[int, Evaluation]:
    """Runs `num_episodes` episodes of `env_id` with each policy, each on a seed of its own, to its end or `max_steps`.

    The number of episodes is fixed beforehand, so that short episodes count no more than long ones. An evaluation is a
    function of the policy's weights, its seed and, where the policy acts at random, `num_envs`: neither of the other
    policies nor of their number, but for the rounding of what they compute together. `num_at_once` policies play at the
    same time; where one has played all its episodes the next one begins. Where the environment has `action_mask` in its
    `info` the policies choose among these actions.

    Args:
        policies: their random streams are restarted from `seeds`.
        env_id: see `make_env`.
        num_episodes: E, at least 1.
        seeds: of each policy that is evaluated, by its number; at least 0.
        max_steps: steps after which an episode is cut, 1 or more; a warning says that it was.
        num_envs: episodes of a policy that run at the same time; 1 or more.
        on_step: called after each step with the number of episodes that have ended and the steps of all so far.

    Returns:
        The evaluation of each policy, by its number.

    Raises:
        ValueError: a number is out of its range, the environment gives masks now and then only or none that can be
            used, or as `make_env`.
    """
    for name, value in {"num_episodes": num_episodes, "num_envs": num_envs, "max_steps": max_steps}.items():
        if value < 1:
            raise ValueError(f"{name}={value}: at least 1 is needed")
    if (lowest := min(seeds.values())) < 0:
        raise ValueError(f"seed={lowest}: at least 0 is needed")
    policies.seed_acting(seeds)
    waiting, running = iter(seeds.items()), dict[int, Episodes]()
    evaluations: dict[int, Evaluation] = {}
    try:
        while len(evaluations) < len(seeds):
            for member, seed in islice(waiting, policies.num_at_once - len(running)):
                starts = episode_seeds(seed, num_episodes)
                running[member] = Episodes(env_id, starts, num_envs=num_envs, max_steps=max_steps)
                running[member].begin()
            with torch.inference_mode():
                actions = _choose(policies, env_id, running)
            for episodes, act in zip(running.values(), actions, strict=True):
                episodes.step(act)
            for member in [member for member, episodes in running.items() if episodes.is_over]:
                evaluations[member] = Evaluation.of(episodes := running.pop(member))
                episodes.close()
            if on_step:
                lengths = [evaluation.lengths for evaluation in evaluations.values()]
                num_ended = len(lengths) * num_episodes + sum(episodes.num_ended for episodes in running.values())
                num_steps = sum(int(each.sum()) for each in lengths) + sum(each.num_steps for each in running.values())
                on_step(num_ended, num_steps)
    finally:
        for episodes in running.values():
            episodes.close()
    if num_cut := sum(evaluation.num_cut for evaluation in evaluations.values()):
        log.warning(
            "%s: %d of %d episodes had not ended after %d steps and were cut there, so returns are of what was played;"
            " give the environment a time limit (gymnasium.register, max_episode_steps), or a larger eval_max_steps",
            env_id,
            num_cut,
            num_episodes * len(evaluations),
            max_steps,
        )
    return evaluations


def episode_seeds(seed: int, num_episodes: int) -> list[int]:
    """The seeds of an evaluation's episodes."""
    seeds: list[int] = np.random.SeedSequence(seed).generate_state(num_episodes).tolist()
    return seeds


def _choose(policies: ActingPolicies, env_id: str, running: Mapping[int, Episodes]) -> NDArray[Any]:
    """The actions (M, N, ...) of the policies whose episodes run, among the available ones."""
    obs = np.stack([episodes.obs() for episodes in running.values()])
    if not any(episodes.has_masks for episodes in running.values()):
        return policies.compute_actions(list(running), obs)
    try:
        return policies.compute_actions(list(running), obs, mask=np.stack([each.mask() for each in running.values()]))
    except ValueError as error:
        raise ValueError(f"{env_id}, {MASK}: {error}") from error


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
