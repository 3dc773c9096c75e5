"""Small datasets and small policies of every algorithm of the registry."""

from typing import Any

import gymnasium as gym
import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from bcq_exp.algorithms import REGISTRY
from bcq_exp.algorithms.schema import AlgorithmConfig
from bcq_exp.networks import MLPNetworkConfig, Sizes
from bcq_exp.policies import Policy
from bcq_exp.policies.actions import ActionMap

OBS_DIM, ACT_DIM, LR = 3, 2, 1e-2
INITIAL: dict[str, Any] = {"init": "torch", "last_layer_scale": None, "policy_last_layer_scale": None, "dropout": 0.0}
NETWORK = MLPNetworkConfig(
    name="tiny", kind="mlp", hidden_sizes=[6, 5], vae_hidden_sizes=[7, 4], activation="relu", **INITIAL
)
BOX = gym.spaces.Box(np.float32([-0.5, -1]), np.float32([1, 0.5]))
DISCRETE = gym.spaces.Discrete(6)

# Three episodes and the beginning of a fourth: terminal, cut by a time limit, both at once, still open.
TERMINATED = np.array([0, 0, 1, 0, 0, 0, 0, 0, 1, 0, 0, 0], np.bool_)
TRUNCATED = np.array([0, 0, 0, 0, 0, 0, 0, 1, 1, 0, 0, 0], np.bool_)
GOES_ON = ~(TERMINATED | TRUNCATED) & (np.arange(len(TERMINATED)) + 1 < len(TERMINATED))  # the next row follows it

CONTINUOUS = {"action_scaling": True, "action_bound_method": "clip"}
Q_LEARNING = {
    "is_double": True,
    "clip_loss_grad": False,
    "reward_normalization": False,
    "gamma": 0.9,
    "estimation_step": 1,
    "target_update_freq": 2,
    "tau": None,
    "eval_eps": 0.0,
}
BOOTSTRAPPING = {key: value for key, value in Q_LEARNING.items() if key != "clip_loss_grad"}
TD3 = {"gamma": 0.9, "tau": 0.3, "policy_noise": 0.4, "noise_clip": 0.3, "policy_freq": 2, **CONTINUOUS}
SAC_N = {"gamma": 0.9, "tau": 0.3, "num_critics": 3, **CONTINUOUS}
CONFIGS: dict[str, dict[str, Any]] = {
    "bcq": {
        "gamma": 0.9,
        "tau": 0.3,
        "lmbda": 0.75,
        "phi": 0.3,
        "num_sampled_action": 4,
        "forward_sampled_times": 5,
        **CONTINUOUS,
    },
    "discrete_bcq": {
        "unlikely_action_threshold": 0.1,
        "imitation_logits_penalty": 0.1,
        "num_quantiles": None,
        **Q_LEARNING,
    },
    "dqn": Q_LEARNING,
    "discrete_crr": {
        "gamma": 0.9,
        "target_update_freq": 2,
        "tau": None,
        "weight": "exp",
        "beta": 2.0,
        "max_weight": 1.5,
        "eval_eps": 0.0,
    },
    "discrete_iql": {"gamma": 0.9, "tau": 0.3, "expectile": 0.8, "beta": 0.5, "max_weight": 2.0, "eval_eps": 0.0},
    "kl_control": {
        "gamma": 0.9,
        "kl_weight": 0.6,
        "backup": "psi",
        "clip_loss_grad": False,
        "target_update_freq": 2,
        "tau": None,
        "eval_eps": 0.0,
    },
    "spibb_dqn": {"min_probability": 0.15, **Q_LEARNING},
    "rem": {"num_heads": 3, **Q_LEARNING},
    "discrete_cql": {"alpha": 0.4, "num_quantiles": None, **Q_LEARNING},
    "qrdqn": {"num_quantiles": 3, "kappa": 0.7, **BOOTSTRAPPING},
    "bc": {"policy": "deterministic", **CONTINUOUS},
    "bc_discrete": {"eval_eps": 0.0},
    "awac": {"gamma": 0.9, "tau": 0.3, "lmbda": 0.75, "normalization": "batch", **CONTINUOUS},
    "mcq": {
        "gamma": 0.9,
        "tau": 0.3,
        "lmbda": 0.75,
        "num_sampled_action": 4,
        "excess": "square",
        "pseudo_target_min": 0.0,
        **CONTINUOUS,
    },
    "cql": {"gamma": 0.9, "tau": 0.3, "alpha": 2.0, "lagrange_threshold": None, "num_sampled_action": 4, **CONTINUOUS},
    "crr": {
        "gamma": 0.9,
        "target_update_freq": 2,
        "weight": "exp",
        "beta": 2.0,
        "max_weight": 2.0,
        "num_sampled_action": 4,
        "evaluation": "mean",
        "next_action": "policy",
        **CONTINUOUS,
    },
    "sac_n": SAC_N,
    "edac": {"eta": 3.0, **SAC_N},
    "iql": {"gamma": 0.9, "tau": 0.3, "expectile": 0.8, "beta": 0.5, "max_weight": 2.0, **CONTINUOUS},
    "ddpg": {"gamma": 0.9, "tau": 0.3, "action_layer": 1, **CONTINUOUS},
    "discretized_dqn": {"gamma": 0.9, "tau": 0.3, "num_bins": 4, **CONTINUOUS},
    "vae_bc": CONTINUOUS,
    "bear": {
        "gamma": 0.9,
        "tau": 0.3,
        "lmbda": 0.75,
        "mmd_sigma": 2.0,
        "mmd_threshold": 0.05,
        "kernel": "laplacian",
        "num_critics": 3,
        "num_samples_match": 4,
        "num_sampled_action": 5,
        "forward_sampled_times": 6,
        "warmup": 1,
        **CONTINUOUS,
    },
    "td3": TD3,
    "td3_bc": {"alpha": 2.5, **TD3},
    "rebrac": {"actor_penalty": 0.4, "critic_penalty": 0.3, **TD3},
}


def data(*, is_discrete: bool) -> dict[str, NDArray[Any]]:
    """Columns of a dataset whose terminal observations are NaN: whatever stands there may not matter."""
    rng, rows = np.random.default_rng(0), len(TERMINATED)
    columns: dict[str, NDArray[Any]] = {
        "obs": rng.normal(size=(rows, OBS_DIM)),
        "act": rng.integers(DISCRETE.n, size=rows) if is_discrete else rng.uniform(-1, 1, (rows, ACT_DIM)),
        "rew": 2 * rng.normal(size=rows),
        "terminated": TERMINATED,
        "truncated": TRUNCATED,
        "obs_next": rng.normal(size=(rows, OBS_DIM)),
    }
    columns["obs_next"][TERMINATED] = np.nan
    if is_discrete:
        columns["mask_next"] = rng.random((rows, DISCRETE.n)) < 0.7
        columns["mask_next"][TERMINATED] = False
        columns["mask_next"][~TERMINATED, 1] = True
        columns["mask"] = rng.random((rows, DISCRETE.n)) < 0.6
        columns["mask"][np.arange(rows), columns["act"]] = True
    return columns


def with_next_actions(columns: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """The columns with the next row's action, and whether it is of the same episode."""
    return {**columns, "act_next": np.roll(columns["act"], -1, 0), "has_act_next": GOES_ON}


def scatter(*modules: nn.Module) -> None:
    """Move all matrices at random: targets away from their sources, outputs far apart and towards their bounds."""
    with torch.no_grad():
        for param in (param for module in modules for param in module.parameters()):
            if param.ndim > 1:
                param.add_(torch.randn_like(param))


def config(name: str, **changed: Any) -> AlgorithmConfig:
    return REGISTRY[name].config(name=name, **CONFIGS[name] | changed)


def networks(
    name: str, cfg: AlgorithmConfig, *, network: MLPNetworkConfig = NETWORK, max_action: float = 1.0
) -> dict[str, nn.Module]:
    """Freshly initialised and scattered, the same for the same arguments."""
    act_dim = int(DISCRETE.n) if REGISTRY[name].is_discrete else ACT_DIM
    torch.manual_seed(0)
    nets = REGISTRY[name].networks(cfg, network, Sizes((OBS_DIM,), act_dim, max_action))
    scatter(*nets.values())
    return nets


def adam(net: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.Adam(net.parameters(), lr=LR)


def make_policy(
    name: str, *, network: MLPNetworkConfig = NETWORK, max_action: float | None = None, **changed: Any
) -> Policy:
    """A policy with scattered weights and targets.

    Args:
        name: of the algorithm.
        network: widths and activations.
        max_action: None takes what the bound method implies.
        **changed: keys of the configuration that differ from `CONFIGS`.
    """
    entry, cfg = REGISTRY[name], config(name, **changed)
    space = DISCRETE if entry.is_discrete else BOX
    bounds = {key: getattr(cfg, key) for key in CONTINUOUS if hasattr(cfg, key)}
    action_map = ActionMap(space, **CONTINUOUS | bounds)
    max_action = action_map.max_action if max_action is None else max_action
    nets = networks(name, cfg, network=network, max_action=max_action)
    algorithm = entry.build(cfg, Sizes((OBS_DIM,), action_map.act_dim, max_action, network.dropout_units))
    policy = Policy(
        algorithm=algorithm,
        nets=nets,
        optimizers={key: adam(net) for key, net in nets.items()},
        hp={key: getattr(cfg, key) for key in algorithm.swept},
        action_space=space,
        observation_space=gym.spaces.Box(-np.inf, np.inf, (OBS_DIM,)),
        **bounds,
    )
    scatter(policy.targets)
    policy.seed(0)
    return policy


def arrays(net: nn.Module) -> list[NDArray[np.float64]]:
    """Copies of the parameters, layer by layer."""
    return [param.detach().numpy().copy() for param in net.parameters()]


def gradients(net: nn.Module) -> list[NDArray[np.float64]]:
    """What the last step left in the parameters' `grad`."""
    return [param.grad.numpy() for param in net.parameters() if param.grad is not None]


def replay(policy: Policy) -> torch.Generator:
    """A copy of the stream that the next update draws its noise from: stage after stage, (B, *shape) each."""
    return policy.learning_noise.clone_state()
