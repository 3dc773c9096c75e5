"""The updates that are timed: the overrides that a user would type, and random data of the right shape."""

from dataclasses import dataclass, replace
from typing import Any

import gymnasium as gym
import numpy as np
from hydra import compose, initialize_config_dir
from numpy.typing import NDArray
from omegaconf import OmegaConf
from torch.utils.flop_counter import FlopCounterMode

from bcq_exp.data import Transitions
from bcq_exp.engine.population import Population
from bcq_exp.io.source import CONF_DIR
from bcq_exp.training.config import RunConfig, check
from bcq_exp.training.experiment import make_population

EPISODE_LENGTH = 200


class Spaces(gym.Env[Any, Any]):
    """An environment of two spaces only; checking a configuration needs no more."""

    def __init__(self, observation_space: gym.Space[Any], action_space: gym.Space[Any]) -> None:
        self.observation_space, self.action_space = observation_space, action_space


@dataclass(frozen=True)
class Case:
    """An update to be timed.

    Args:
        title: as tables show it.
        env: id that this module registers the spaces under.
        overrides: of the configuration in `conf/`.
        observation_space: of the data.
        action_space: of the data.
        num_rows: of the data.
    """

    title: str
    env: str
    overrides: tuple[str, ...]
    observation_space: gym.spaces.Box
    action_space: gym.spaces.Box | gym.spaces.Discrete
    num_rows: int

    @property
    def num_actions(self) -> int:
        """Discrete actions, or dimensions of a continuous one."""
        space = self.action_space
        return int(space.n if isinstance(space, gym.spaces.Discrete) else space.shape[0])

    def config(self, *overrides: str) -> dict[str, Any]:
        """The whole configuration as plain values, with some keys changed."""
        dataset = ("dataset=h5", "dataset.path=none", f"dataset.env={__name__}:{self.env}")
        return composed(*dataset, *self.overrides, *overrides)

    def columns(self) -> dict[str, NDArray[Any]]:
        """Random transitions, the same at each call."""
        rng = np.random.default_rng(0)
        shape = (self.num_rows, *self.observation_space.shape)
        obs: NDArray[Any]
        obs_next: NDArray[Any]
        if self.observation_space.dtype == np.uint8:
            obs, obs_next = (rng.integers(256, size=shape, dtype=np.uint8) for _ in range(2))
        else:
            obs, obs_next = (rng.normal(size=shape).astype(np.float32) for _ in range(2))
        if isinstance(self.action_space, gym.spaces.Discrete):
            act: NDArray[Any] = rng.integers(self.action_space.n, size=self.num_rows)
        else:
            low, high = self.action_space.low, self.action_space.high
            act = rng.uniform(low, high, (self.num_rows, *low.shape)).astype(np.float32)
        return {
            "obs": obs,
            "act": act,
            "rew": rng.normal(size=self.num_rows).astype(np.float32),
            "terminated": np.arange(self.num_rows) % EPISODE_LENGTH == EPISODE_LENGTH - 1,
            "truncated": np.zeros(self.num_rows, dtype=bool),
            "obs_next": obs_next,
        }


def composed(*overrides: str) -> dict[str, Any]:
    """Compose the configuration of a command line, as plain values without Hydra's own keys."""
    with initialize_config_dir(CONF_DIR, version_base="1.3"):
        config = OmegaConf.to_container(compose("config", overrides=list(overrides)), resolve=True)
    assert isinstance(config, dict)
    return {str(key): value for key, value in config.items()}


def typed(config: dict[str, Any]) -> RunConfig:
    """The checked form of `composed`'s plain values."""
    return check(OmegaConf.create(config))


def population(cfg: RunConfig, columns: dict[str, NDArray[Any]], num_members: int) -> Population:
    """Make a population whose members differ in their seeds."""
    members = [replace(cfg, schedule=replace(cfg.schedule, seed=seed)) for seed in range(num_members)]
    return make_population(members, Transitions.from_columns(columns, "benchmark data"))


def flop(config: dict[str, Any], columns: dict[str, NDArray[Any]]) -> int:
    """Count the operations in matrix products and convolutions of one member's update."""
    lone = population(typed({**config, "compile": "never"}), columns, 1)
    with FlopCounterMode(display=False) as counter:
        lone.advance(1)
    return int(counter.get_total_flops())


def _vectors(size: int) -> gym.spaces.Box:
    return gym.spaces.Box(-np.inf, np.inf, (size,))


def _discrete(batch_size: int) -> Case:
    return Case(
        title=f"discrete BCQ, 256-256, batch {batch_size}",
        env=f"discrete-{batch_size}-v0",
        # The Huber loss, as the published code and all peers have it.
        overrides=(
            "algorithm=discrete_bcq", "algorithm.clip_loss_grad=true", "network=mlp", f"batch_size={batch_size}",
        ),
        observation_space=_vectors(4),
        action_space=gym.spaces.Discrete(2),
        num_rows=20_000,
    )  # fmt: skip


CASES = {
    "bcq": Case(
        title="continuous BCQ, paper size",
        env="bcq-v0",
        overrides=("algorithm=bcq", "network=bcq_paper", "batch_size=100"),
        observation_space=_vectors(11),
        action_space=gym.spaces.Box(-1, 1, (3,)),
        num_rows=20_000,
    ),
    "discrete-64": _discrete(64),
    "discrete-256": _discrete(256),
    "nature-cnn": Case(
        title="discrete BCQ, Nature CNN, batch 32",
        env="nature-cnn-v0",
        overrides=(
            "algorithm=discrete_bcq", "algorithm.clip_loss_grad=true", "network=nature_cnn", "batch_size=32",
            "optimizer.lr=6.25e-5",
        ),
        observation_space=gym.spaces.Box(0, 255, (4, 84, 84), np.uint8),
        action_space=gym.spaces.Discrete(6),
        num_rows=5_000,  # 280 MB: more than caches hold
    ),
}  # fmt: skip


for _case in CASES.values():
    _spaces = {"observation_space": _case.observation_space, "action_space": _case.action_space}
    gym.register(_case.env, f"{__name__}:Spaces", kwargs=_spaces, disable_env_checker=True)
