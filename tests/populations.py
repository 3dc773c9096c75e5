"""Small populations of every algorithm, for the tests of the engine."""

from dataclasses import replace

import numpy as np
import torch

from bcq_exp.data import Transitions
from bcq_exp.engine.population import Population
from bcq_exp.policies import Policy
from bcq_exp.training.experiment import make_population
from cases import checked, random_walk

SMALL = ("network.hidden_sizes=[8]", "network.vae_hidden_sizes=[8]", "batch_size=16", "compile=never")
# What is typed for each algorithm, and a key that its members differ in besides seed and learning rate. Where gradients
# cancel, Adam makes a whole step of the rounding error that is left; with a larger eps it does not.
ALGORITHMS = {
    "discrete_bcq": (
        ("dataset=cartpole-noisy", "algorithm.estimation_step=3", "algorithm.target_update_freq=3",
         "algorithm.reward_normalization=true"),
        "algorithm.unlikely_action_threshold",
    ),
    "dqn": (
        ("dataset=cartpole-noisy", "algorithm.clip_loss_grad=true", "algorithm.target_update_freq=null"),
        "algorithm.tau",
    ),
    "discrete_crr": (("dataset=cartpole-noisy", "algorithm.target_update_freq=3"), "algorithm.beta"),
    "discrete_iql": (("dataset=cartpole-noisy",), "algorithm.expectile"),
    "kl_control": (
        ("dataset=cartpole-noisy", "algorithm.target_update_freq=3", "optimizer.eps=3e-4"), "algorithm.kl_weight",
    ),
    "spibb_dqn": (("dataset=cartpole-noisy", "algorithm.target_update_freq=3"), "algorithm.min_probability"),
    "rem": (("dataset=cartpole-noisy", "algorithm.num_heads=5"), "algorithm.gamma"),
    "discrete_cql": (("dataset=cartpole-noisy", "algorithm.num_quantiles=5"), "algorithm.alpha"),
    "qrdqn": (("dataset=cartpole-noisy", "algorithm.num_quantiles=5", "optimizer.eps=3e-4"), "algorithm.kappa"),
    "bc_discrete": (("dataset=cartpole-noisy", "optimizer=adamw"), "optimizer.weight_decay"),
    "bcq": (("dataset=pendulum-noisy", "optimizer.weight_decay=0.1"), "algorithm.phi"),
    "bc": (("dataset=pendulum-noisy", "optimizer.lr_decay=cosine", "num_updates=100"), "optimizer.eps"),
    "awac": (("dataset=pendulum-noisy",), "algorithm.lmbda"),
    "crr": (("dataset=pendulum-noisy", "algorithm.target_update_freq=3"), "algorithm.beta"),
    "cql": (("dataset=pendulum-noisy", "algorithm.lagrange_threshold=1"), "algorithm.alpha"),
    "mcq": (("dataset=pendulum-noisy",), "algorithm.lmbda"),
    "sac_n": (("dataset=pendulum-noisy", "algorithm.num_critics=4"), "algorithm.tau"),
    "edac": (("dataset=pendulum-noisy", "algorithm.num_critics=4"), "algorithm.eta"),
    "iql": (("dataset=pendulum-noisy",), "algorithm.expectile"),
    "td3_bc": (("dataset=pendulum-noisy",), "algorithm.alpha"),
    "ddpg": (("dataset=pendulum-noisy",), "algorithm.tau"),
    "discretized_dqn": (("dataset=pendulum-noisy", "algorithm.num_bins=3"), "algorithm.gamma"),
    "vae_bc": (("dataset=pendulum-noisy", "optimizer=adamw"), "optimizer.weight_decay"),
    "rebrac": (("dataset=pendulum-noisy",), "algorithm.critic_penalty"),
    "bear": (
        ("dataset=pendulum-noisy", "algorithm.warmup=10", "algorithm.num_critics=3"), "algorithm.mmd_threshold"
    ),
    "td3": (("dataset=pendulum-noisy", "algorithm.policy_freq=3"), "algorithm.policy_noise"),
}  # fmt: skip


# Those that use masks in more than a target's argmax, with what is typed for them.
MASKED = {
    "discrete_bcq": (),
    "discrete_cql": (),
    "discrete_crr": (),
    "discrete_iql": (),
    "kl_control": ("algorithm.backup=q",),
    "spibb_dqn": (),
}


def with_masks(data: Transitions) -> Transitions:
    """In half of the states only the action that was taken is available; behind a terminal state none is."""
    rng, both = np.random.default_rng(0), np.ones((len(data), 2), np.bool_)
    mask = both & ((np.arange(2) == data.act[:, None]) | (rng.random((len(data), 1)) < 0.5))
    mask_next = np.eye(2, dtype=np.bool_)[rng.integers(2, size=len(data))] | (rng.random((len(data), 1)) < 0.5)
    return replace(data, mask=mask, mask_next=mask_next & ~data.terminated[:, None])


def population_of(
    name: str, members: list[int], *overrides: str, data_seed: int = 0, has_masks: bool = False
) -> Population:
    """A population whose members have their number as seed, and rates and one swept key that follow from it."""
    fixed, swept = ALGORITHMS[name]
    lists = [
        [f"algorithm={name}", *fixed, *SMALL, f"seed={number}", f"optimizer.lr={1e-3 * (number + 1)}", *overrides]
        for number in members
    ]
    if swept != "optimizer.eps":
        for number, override in zip(members, lists, strict=True):
            override.append(f"{swept}={0.1 * (number + 1)}")
    is_discrete = "cartpole" in fixed[0]
    data = random_walk(5, is_discrete=is_discrete, seed=data_seed)
    return make_population([checked(*override) for override in lists], with_masks(data) if has_masks else data)


def weights(policy: Policy) -> torch.Tensor:
    return torch.cat([param.detach().flatten() for param in policy.parameters()])
