"""Datasets of all that an agent saw in its training: the final buffer of arXiv:1812.02900, section 3."""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gymnasium as gym
import numpy as np

from bcq_exp.behaviours.collection import CachedDatasetConfig, cached
from bcq_exp.behaviours.training import INSTALL, LAST_SEED, BehaviourConfig, learn, new_agent, one_thread
from bcq_exp.behaviours.training_state import ROWS, go_on
from bcq_exp.data import Transitions
from bcq_exp.data.growth import Growth
from bcq_exp.data.schema import raised
from bcq_exp.data.transitions import episode_sums
from bcq_exp.envs.environments import packages
from bcq_exp.fields import within

if TYPE_CHECKING:
    from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm


@dataclass(kw_only=True)
class ReplayDatasetConfig(CachedDatasetConfig):
    """All transitions of an agent's training; `training` are the keys of a `BehaviourConfig`.

    `rows_at_start` and `rows_per_update` are null where all rows are there from the beginning: see `Growth`.
    """

    training: dict[str, Any]
    seed: int = within(0, LAST_SEED)
    rows_at_start: int | None
    rows_per_update: float | None

    def read(self, *, allow_code_change: bool = False) -> Transitions:
        """See `final_buffer`."""
        return final_buffer(
            name=self.name,
            env=self.env,
            training=self.training,
            num_transitions=self.num_transitions,
            seed=self.seed,
            allow_code_change=allow_code_change,
        )

    def sections(self) -> dict[str, tuple[Mapping[str, Any], type[Any]]]:
        """The training, whose environment and length are the dataset's."""
        decided = {"env": self.env, "max_steps": self.num_transitions}
        return {"training": ({**self.training, **decided}, BehaviourConfig)}

    def errors(self) -> list[str]:
        """See `DatasetConfig.errors`; a wrong growth, and one of a preprocessed dataset, are errors, too."""
        errors = super().errors() + raised(lambda: self.growth)
        is_whole = (self.holdout, self.fraction, self.top_return_fraction) == (0, 1, 1) and not self.normalize_obs
        if not errors and self.growth and not is_whole:
            errors.append(
                "rows_per_update is for whole datasets in the order of their recording; give holdout=0, fraction=1 and "
                "top_return_fraction=1, and normalize_obs=false, whose statistics would be of rows to come"
            )
        return errors

    @property
    def growth(self) -> Growth | None:
        """See `DatasetConfig.growth`; raises ValueError for keys that say no growth."""
        start, rate = self.rows_at_start, self.rows_per_update
        if start is None and rate is None:
            return None
        if start is None or rate is None or start < 1 or rate <= 0:
            raise ValueError(
                f"rows_at_start={start}, rows_per_update={rate}; allowed: both null, or 1 and more, and more than 0"
            )
        return Growth(start, rate)


def final_buffer(
    *,
    name: str,
    env: str,
    training: Mapping[str, Any],
    num_transitions: int,
    seed: int,
    allow_code_change: bool,
) -> Transitions:
    """Read every transition of an agent's training, from its first random steps on (arXiv:1812.02900, section 3).

    The agent is trained first where the cache lacks the dataset. A training that was killed resumes from its
    checkpoint, which lies beside the dataset, to the same transitions.

    Args:
        name: of the dataset.
        env: see `make_env`.
        training: keys of `BehaviourConfig`; `env`, `max_steps`, `clip_rewards` and the buffer's size are set here.
        num_transitions: N, the steps of the training.
        seed: of the training.
        allow_code_change: whether a training that other code began may go on.

    Raises:
        ValueError: as `new_agent`, `go_on` and `BehaviourConfig`, no episode ends in N, or the cache is not writable.
    """
    arguments = {**training["arguments"], "buffer_size": num_transitions}
    settings = {**training, "env": env, "max_steps": num_transitions, "arguments": arguments, "clip_rewards": False}
    cfg = BehaviourConfig(**settings)
    try:
        learner = version("stable_baselines3")
    except PackageNotFoundError as error:
        raise ValueError(f"dataset {name} is what an agent of {error.name} has seen: {INSTALL}") from None
    origin = {"env": env, "training": settings, "num_transitions": num_transitions, "seed": seed, **packages(env)}
    origin["stable_baselines3_version"] = learner

    @one_thread()
    def make(path: Path) -> Transitions:
        folder, agent = path.with_name(f"{path.stem}.training"), new_agent(cfg, seed)
        go_on(agent, folder, {**settings, "seed": seed}, allow_code_change=allow_code_change)
        learn(agent, cfg, folder, lambda: True)
        transitions = recorded(agent, name)
        shutil.rmtree(folder)
        return transitions

    return cached(name, origin, make)


def recorded(agent: "OffPolicyAlgorithm", source: str) -> Transitions:
    """The replay buffer, in the order of its recording; raises ValueError where no episode ends in it."""
    buffer, space = agent.replay_buffer, agent.action_space
    assert buffer is not None
    obs, obs_next, act, rew, dones, timeouts = (getattr(buffer, name)[: buffer.size(), 0].copy() for name in ROWS)
    ends, num_episodes = dones.astype(np.bool_), int(dones.sum())
    if num_episodes == 0:
        raise ValueError(f"num_transitions={len(rew)} ends before the first episode; collect more")
    if isinstance(space, gym.spaces.Box):  # it keeps actions in [-1, 1]
        act = space.low + (act + 1) / 2 * (space.high - space.low)
    if isinstance(space, gym.spaces.Discrete):
        act = act[:, 0]
    ends[-1] = True
    terminated = ends & (timeouts == 0) & (dones == 1)
    columns = {"obs": obs, "act": act, "rew": rew, "terminated": terminated, "obs_next": obs_next}
    returns = episode_sums(rew, ends)[:num_episodes]
    return Transitions.from_columns({**columns, "truncated": ends & ~terminated, "episode_returns": returns}, source)
