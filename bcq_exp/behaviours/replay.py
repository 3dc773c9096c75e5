"""What an agent's training has seen as a dataset: the final buffer of arXiv:1812.02900, section 3."""

import shutil
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gymnasium as gym
import numpy as np

from bcq_exp.behaviours.collection import cached
from bcq_exp.behaviours.training import INSTALL, BehaviourConfig, learn, new_agent, one_thread
from bcq_exp.behaviours.training_state import ROWS, go_on
from bcq_exp.data import Transitions
from bcq_exp.data.transitions import episode_sums
from bcq_exp.envs.environments import packages

if TYPE_CHECKING:
    from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm


def final_buffer(
    *,
    name: str,
    env: str,
    training: Mapping[str, Any],
    num_transitions: int,
    seed: int,
    allow_code_change: bool,
) -> Transitions:
    """Every transition of an agent's training, from its first random steps on (arXiv:1812.02900, section 3).

    The training stays beside the dataset until that is whole, and goes on from its checkpoint where it was killed, to
    the same transitions.

    Args:
        name: of the dataset.
        env: see `make_env`.
        training: keys of `BehaviourConfig`; how long it takes and what it keeps is decided here.
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
