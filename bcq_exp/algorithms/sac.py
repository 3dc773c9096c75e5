"""Soft actor-critic (arXiv:1812.05905): parts for the algorithms that build on it. Alone it is not for fixed data.

Temperature and policy are one stage, on the same sampled actions; a policy's step sees the temperature before its own
step. As in the published code, the temperature's loss has its logarithm where the paper has the temperature itself.

Shape suffixes: B batch, N sampled actions a state, A action.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from bcq_exp.algorithms.bc import gaussian_policy
from bcq_exp.algorithms.form import Act, Draw, Nets, Stage, Tensors
from bcq_exp.algorithms.td3 import smallest_value, twin_critics
from bcq_exp.networks import DualVariable, MLPNetworkConfig, Sizes, StochasticActor
from bcq_exp.ops.gaussian import squashed_sample

LOG_STD_RANGE = (-20.0, 2.0)  # of the published code, and of rlkit's TanhGaussianPolicy


def policy_stage(
    sizes: Sizes, smallest: Callable[[Nets, Tensor, Tensor], Tensor] = smallest_value, *, slope_eps: float
) -> Stage:
    """The stage that trains `policy` and `temperature`.

    `smallest` gives min_j Q_j(s, a), (B,), of the critics; `slope_eps` is that of `squashed_sample`.
    The target entropy is A (log max_action - 1): the paper's -A (table 1) where max_action is 1.
    """
    max_action, target_entropy = sizes.max_action, sizes.act_dim * (math.log(sizes.max_action) - 1)

    def loss(nets: Nets, targets: Nets, batch: Tensors, noise: Tensors, hp: Tensors) -> tuple[Tensor, Tensors]:
        """alpha log pi(a|s) - min_j Q_j(s, a) with a ~ pi(s), and -log alpha (log pi(a|s) + H)    (eq. 9 and 18)."""
        log_alpha = nets["temperature"]()
        gaussian = nets["policy"](batch["obs"])
        act_BA, log_prob_B = squashed_sample(noise["eps"], *gaussian, max_action=max_action, slope_eps=slope_eps)
        q_B = smallest(nets, batch["obs"], act_BA)
        actor = (log_alpha.exp().detach() * log_prob_B - q_B).mean()
        temperature = -log_alpha * (log_prob_B.detach() + target_entropy).mean()
        return actor + temperature, {"actor_loss": actor, "temperature_loss": temperature}

    return Stage(loss, trains=("policy", "temperature"), noise={"eps": Draw("normal", (sizes.act_dim,))})


def sampled_actions(
    nets: Nets, obs: Tensor, eps_BNA: Tensor, max_action: float, *, slope_eps: float = 0.0
) -> tuple[Tensor, Tensor]:
    """N actions of each state, (B, N, A), and their log densities (B, N); the keyword is that of `squashed_sample`."""
    mean_B1A, log_std_B1A = (each.unsqueeze(1) for each in nets["policy"](obs))
    return squashed_sample(eps_BNA, mean_B1A, log_std_B1A, max_action=max_action, slope_eps=slope_eps)


def live_next_state(batch: Tensors) -> Tensor:
    """s', (B, S), with s in place of a terminal one, which may hold anything."""
    return torch.where(batch["terminated"].unsqueeze(-1), batch["obs"], batch["obs_next"])


def mean_act(max_action: float) -> Act:
    """m tanh(mean(s)), the policy's action without noise.

    Args:
        max_action: m, the largest magnitude of an action, in policy units.
    """

    def act(nets: Nets, batch: Tensors, noise: Tensors, hp: Tensors) -> dict[str, Tensor]:
        mean_BA, _ = nets["policy"](batch["obs"])
        return {"act": max_action * torch.tanh(mean_BA)}

    return act


def squashed_policy(
    network: MLPNetworkConfig, sizes: Sizes, log_std_range: tuple[float, float] = LOG_STD_RANGE
) -> StochasticActor:
    """A Gaussian policy whose samples tanh bounds, with a deviation of each state."""
    return gaussian_policy(
        network, sizes, has_state_std=True, log_std_range=log_std_range, std_bound="clip", is_squashed=True
    )


def networks(network: MLPNetworkConfig, sizes: Sizes, log_std_range: tuple[float, float]) -> dict[str, nn.Module]:
    """A squashed Gaussian policy, its temperature, and twin critics with weights of their own."""
    return {
        "policy": squashed_policy(network, sizes, log_std_range),
        "temperature": DualVariable(),
        **twin_critics(network, sizes),
    }
