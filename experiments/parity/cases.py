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
SMALL = ("network=mlp", "network.hidden_sizes=[5,4]", "network.vae_hidden_sizes=[5,4]")


@dataclass(frozen=True)
class Case:
    """A configuration with golden values.

    Args:
        algorithm: in the registry.
        overrides: of the configuration, in which `algorithm` has its defaults.
        rates: of networks whose learning rate is their own; 0, which no configuration may have, holds a network.
    """

    algorithm: str
    overrides: tuple[str, ...] = ()
    rates: Mapping[str, float] = field(default_factory=dict)

    def config(self) -> RunConfig:
        """The composed and checked configuration."""
        env = "parity-discrete-v0" if REGISTRY[self.algorithm].is_discrete else "parity-box-v0"
        dataset = ("dataset=h5", "dataset.path=none", f"dataset.env={__name__}:{env}")
        return typed(composed(*dataset, f"algorithm={self.algorithm}", *SMALL, *self.overrides))


LR = "optimizer.lr=3e-4"
HUBER = "algorithm.clip_loss_grad=true"
COPIES = "algorithm.target_update_freq=3"
SCALE_FREE = "optimizer.eps=1e-15"  # steps that do not change where a loss is multiplied by a number
WIDTHS = ("network.hidden_sizes=[5,5]", "network.vae_hidden_sizes=[5,5]")  # for code with one width of all layers

CQL = (LR, "algorithm.num_sampled_action=3")
MCQ = (LR, *WIDTHS, "algorithm.num_sampled_action=3", "algorithm.lmbda=0.7")
ENSEMBLE = (LR, "algorithm.num_critics=3")
CRR = (LR, COPIES, "optimizer.eps=2e-8")

POLICY_HELD = {"policy": 0.0, "temperature": 0.0}
CRITICS_HELD = {"critic1": 0.0, "critic2": 0.0}
MODEL_HELD = {"encoder": 0.0, "decoder": 0.0, "temperature": 0.0}
IMITATOR_HELD = {"imitator": 0.0}

CASES = {
    "bcq": Case("bcq"),
    "discrete_bcq": Case("discrete_bcq", (HUBER, COPIES)),
    "discrete_bcq_soft": Case("discrete_bcq", (LR, HUBER, "algorithm.target_update_freq=null", "algorithm.tau=0.005")),
    "ddpg": Case("ddpg"),
    "ddpg_2018": Case(
        "ddpg",
        (
            "algorithm.action_layer=2",
            "algorithm.optimizers.actor.lr=1e-4",
            "algorithm.optimizers.critic.weight_decay=1e-2",
        ),
    ),
    "td3": Case("td3", (LR,)),
    "td3_bc": Case("td3_bc", (LR,)),
    "iql": Case("iql", (LR,)),
    "iql_cosine": Case("iql", (LR, "algorithm.optimizers.policy.lr_decay=cosine", "num_updates=10", "eval_freq=10")),
    "iql_dropout": Case("iql", (LR, "network.dropout=0.1")),
    "cql_critics": Case("cql", CQL, POLICY_HELD),
    "cql_multiplier": Case("cql", (*CQL, "algorithm.lagrange_threshold=10"), POLICY_HELD),
    "cql_policy": Case("cql", CQL, {**CRITICS_HELD, "temperature": 0.0}),
    "bear": Case("bear", ("algorithm.warmup=0",)),
    "bear_warmup": Case("bear", ("algorithm.kernel=gaussian", "algorithm.mmd_sigma=20")),
    "awac_critics": Case("awac", (LR,), {"policy": 0.0}),
    "awac_policy": Case("awac", (LR,), CRITICS_HELD),
    "mcq": Case("mcq", MCQ, MODEL_HELD),
    "mcq_rectified": Case("mcq", (*MCQ, "algorithm.excess=rectified", "algorithm.pseudo_target_min=null"), MODEL_HELD),
    "rebrac": Case(
        "rebrac",
        (*WIDTHS, "algorithm.actor_penalty=0.01", "algorithm.critic_penalty=0.1", "algorithm.tau=1e-300"),
    ),
    "sac_n_critics": Case("sac_n", ENSEMBLE, POLICY_HELD),
    "sac_n_policy": Case("sac_n", ENSEMBLE, {"critics": 0.0}),
    "edac_critics": Case("edac", ENSEMBLE, POLICY_HELD),
    "crr": Case("crr", CRR),
    "crr_binary": Case("crr", (*CRR, "algorithm.weight=binary")),
    "dqn": Case("dqn", (COPIES, SCALE_FREE, HUBER, "algorithm.is_double=false")),
    "dqn_double": Case("dqn", (COPIES, HUBER)),
    "qrdqn": Case("qrdqn", (COPIES, SCALE_FREE, "algorithm.num_quantiles=5")),
    "rem": Case("rem", (COPIES, SCALE_FREE, "algorithm.num_heads=5")),
    "discrete_cql": Case("discrete_cql", (COPIES, SCALE_FREE, "algorithm.num_quantiles=5")),
    "discrete_crr": Case("discrete_crr", (COPIES, SCALE_FREE, "algorithm.weight=binary")),
    "kl_control": Case(
        "kl_control",
        ("algorithm.target_update_freq=1", "algorithm.kl_weight=1", "algorithm.backup=q"),
        IMITATOR_HELD,
    ),
    "spibb_dqn": Case(
        "spibb_dqn", (COPIES, "algorithm.min_probability=0.3", "algorithm.clip_loss_grad=false"), IMITATOR_HELD
    ),
    "bc": Case("bc", (LR,)),
    "bc_gaussian": Case("bc", (LR, "algorithm.policy=gaussian")),
    "bc_discrete": Case("bc_discrete"),
    "vae_bc": Case("vae_bc"),
}

_OBS = gym.spaces.Box(-np.inf, np.inf, (OBS_DIM,))
for _env, _actions in {
    "parity-box-v0": gym.spaces.Box(-1, 1, (ACT_DIM,)),
    "parity-discrete-v0": gym.spaces.Discrete(NUM_ACTIONS),
}.items():
    _spaces = {"observation_space": _OBS, "action_space": _actions}
    gym.register(_env, f"{__name__}:Spaces", kwargs=_spaces, disable_env_checker=True)
