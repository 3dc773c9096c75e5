"""The configurations whose updates are compared: tiny networks, and the settings of the code that they stand beside."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import gymnasium as gym
import numpy as np

from bcq_exp.algorithms import REGISTRY
from bcq_exp.training.config import RunConfig
from experiments.benchmark.cases import Spaces, composed, typed

__all__ = ["CASES", "Case", "Spaces"]

OBS_DIM, ACT_DIM, NUM_ACTIONS = 2, 2, 3
MCQ = (
    "network.hidden_sizes=[5,5]",
    "network.vae_hidden_sizes=[5,5]",
    "algorithm.lmbda=0.7",
    "optimizer.lr=3e-4",
)
ENSEMBLE = ("algorithm.num_critics=3", "optimizer.lr=3e-4")
DOPAMINE = ("algorithm.target_update_freq=3", "optimizer.eps=1e-15")
ACME = ("algorithm.target_update_freq=3", "optimizer.lr=3e-4", "optimizer.eps=2e-8")
MCQ_RATES = {"encoder": 0.0, "decoder": 0.0, "temperature": 0.0}
SMALL = ("network=mlp", "network.hidden_sizes=[5,4]", "network.vae_hidden_sizes=[5,4]")


@dataclass(frozen=True)
class Case:
    """A configuration with golden values.

    Args:
        algorithm: in the registry.
        overrides: of the configuration, in which `algorithm` has its defaults.
        rates: of networks whose learning rate is their own.
    """

    algorithm: str
    overrides: tuple[str, ...] = ()
    rates: Mapping[str, float] = field(default_factory=dict)

    def config(self) -> RunConfig:
        """The composed and checked configuration."""
        env = "parity-discrete-v0" if REGISTRY[self.algorithm].is_discrete else "parity-box-v0"
        dataset = ("dataset=h5", "dataset.path=none", f"dataset.env={__name__}:{env}")
        return typed(composed(*dataset, f"algorithm={self.algorithm}", *SMALL, *self.overrides))


CASES = {
    "bcq": Case("bcq"),
    "discrete_bcq": Case(
        "discrete_bcq",
        (
            "algorithm.clip_loss_grad=true",
            "algorithm.unlikely_action_threshold=0.3",
            "algorithm.target_update_freq=3",
        ),
    ),
    "ddpg": Case("ddpg"),
    "iql": Case("iql", ("optimizer.lr=3e-4",)),
    "td3_bc": Case("td3_bc", ("optimizer.lr=3e-4",)),
    "td3": Case("td3", ("optimizer.lr=3e-4",)),
    "cql_critics": Case("cql", ("optimizer.lr=3e-4",), rates={"policy": 0.0, "temperature": 0.0}),
    "cql_multiplier": Case(
        "cql",
        ("optimizer.lr=3e-4", "algorithm.lagrange_threshold=10"),
        rates={"policy": 0.0, "temperature": 0.0},
    ),
    "cql_policy": Case("cql", ("optimizer.lr=3e-4",), rates={"critic1": 0.0, "critic2": 0.0, "temperature": 0.0}),
    "awac_critics": Case("awac", ("optimizer.lr=3e-4",), rates={"policy": 0.0}),
    "awac_policy": Case("awac", ("optimizer.lr=3e-4",), rates={"critic1": 0.0, "critic2": 0.0}),
    "mcq": Case("mcq", MCQ, rates=MCQ_RATES),
    "mcq_rectified": Case(
        "mcq", (*MCQ, "algorithm.excess=rectified", "algorithm.pseudo_target_min=null"), rates=MCQ_RATES
    ),
    "sac_n_critics": Case("sac_n", ENSEMBLE, rates={"policy": 0.0, "temperature": 0.0}),
    "sac_n_policy": Case("sac_n", ENSEMBLE, rates={"critics": 0.0}),
    "edac_critics": Case("edac", ENSEMBLE, rates={"policy": 0.0, "temperature": 0.0}),
    "dqn": Case("dqn", (*DOPAMINE, "algorithm.is_double=false", "algorithm.clip_loss_grad=true")),
    "rem": Case("rem", (*DOPAMINE, "algorithm.num_heads=5")),
    "qrdqn": Case("qrdqn", (*DOPAMINE, "algorithm.num_quantiles=5")),
    "discrete_cql": Case("discrete_cql", (*DOPAMINE, "algorithm.num_quantiles=5")),
    "spibb_dqn": Case(
        "spibb_dqn",
        ("algorithm.target_update_freq=3", "algorithm.min_probability=0.3", "algorithm.clip_loss_grad=false"),
        rates={"imitator": 0.0},
    ),
    "kl_control": Case(
        "kl_control",
        ("algorithm.target_update_freq=1", "algorithm.kl_weight=1", "algorithm.backup=q"),
        rates={"imitator": 0.0},
    ),
    "crr": Case("crr", ACME),
    "crr_binary": Case("crr", (*ACME, "algorithm.weight=binary")),
    "discrete_crr": Case(
        "discrete_crr", ("algorithm.target_update_freq=3", "algorithm.weight=binary", "optimizer.eps=1e-15")
    ),
    "bc_discrete": Case("bc_discrete"),
    "vae_bc": Case("vae_bc"),
    "bc": Case("bc", ("optimizer.lr=3e-4",)),
    "bc_gaussian": Case("bc", ("algorithm.policy=gaussian", "optimizer.lr=3e-4")),
    "rebrac": Case(
        "rebrac",
        (
            "network.hidden_sizes=[5,5]",
            "algorithm.actor_penalty=0.01",
            "algorithm.critic_penalty=0.1",
            "algorithm.tau=1e-300",
        ),
    ),
    "bear": Case("bear", ("algorithm.warmup=0",)),
    "bear_warmup": Case("bear", ("algorithm.kernel=gaussian", "algorithm.mmd_sigma=20")),
}

_OBS = gym.spaces.Box(-np.inf, np.inf, (OBS_DIM,))
for _env, _actions in {
    "parity-box-v0": gym.spaces.Box(-1, 1, (ACT_DIM,)),
    "parity-discrete-v0": gym.spaces.Discrete(NUM_ACTIONS),
}.items():
    _spaces = {"observation_space": _OBS, "action_space": _actions}
    gym.register(_env, f"{__name__}:Spaces", kwargs=_spaces, disable_env_checker=True)
