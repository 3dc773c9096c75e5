"""Critic regularized regression (arXiv:2006.15134, section 3).

Departures: the paper's critic is a distribution, and its policy a mixture of Gaussians; here, as in DeepMind's later
implementation (Acme's jax agent), the critic is one number and the policy one Gaussian, whose samples are cut at the
bounds of actions before they are judged (Acme's go through tanh). The policy is updated before the critic, which is
the same as both at once: the critic's target is made by slow copies.

Shape suffixes: B batch, N sampled actions a state, A action.
"""

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn, no_grad

from bcq_exp.algorithms.bc import LOG_STD_RANGE, gaussian_policy, log_likelihood, mean_act
from bcq_exp.algorithms.definition import Definition
from bcq_exp.algorithms.form import Algorithm, Draw, Nets, Stage, Target, Tensors
from bcq_exp.algorithms.schema import ContinuousConfig
from bcq_exp.fields import one_of, within
from bcq_exp.networks import Critic, MLPNetworkConfig, Sizes
from bcq_exp.ops.gaussian import sample
from bcq_exp.ops.td import n_step_target

SWEPT = frozenset({"gamma", "beta", "max_weight"})


@dataclass(kw_only=True)
class CRRConfig(ContinuousConfig):
    """Keys of `conf/algorithm/crr.yaml`; `beta` and `max_weight` belong to `weight=exp`."""

    gamma: float = within(0, 1)
    target_update_freq: int = within(0)
    weight: str = one_of("exp", "binary", "binary_max")
    beta: float = within(0, is_low_open=True)
    max_weight: float = within(0, is_low_open=True)
    num_sampled_action: int = within(1)


def regression_weights(q_B: Tensor, q_BN: Tensor, hp: Tensors, weight: str) -> Tensor:
    """f(Q, pi, s, a), (B,): the weight of each action's likelihood    (eq. 3, eq. 4 and table 1).

    binary      1[Q(s, a) > mean_j Q(s, a_j)]
    binary_max  1[Q(s, a) > max_j Q(s, a_j)]
    exp         min(exp((Q(s, a) - mean_j Q(s, a_j)) / beta), max_weight)

    Args:
        q_B: Q(s, a) of the dataset's actions, (B,).
        q_BN: Q(s, a_j) of the policy's, (B, N).
        hp: holds beta and max_weight, which `exp` reads.
        weight: one of the three.
    """
    value_B = q_BN.amax(-1) if weight == "binary_max" else q_BN.mean(-1)
    return advantage_weights(q_B - value_B, hp, is_exponential=weight == "exp")


def advantage_weights(advantage_B: Tensor, hp: Tensors, *, is_exponential: bool) -> Tensor:
    """min(exp(advantage / beta), max_weight), or 1 where the advantage is above 0 and 0 elsewhere, (B,)."""
    if is_exponential:
        return (advantage_B / hp["beta"]).exp().minimum(hp["max_weight"])
    return (advantage_B > 0).to(advantage_B.dtype)


def from_config(cfg: CRRConfig, sizes: Sizes) -> Algorithm:
    """CRR as stages: policy, then critic."""
    weight, num_samples, max_action = cfg.weight, cfg.num_sampled_action, sizes.max_action

    def critic_loss(nets: Nets, targets: Nets, batch: Tensors, noise: Tensors, hp: Tensors) -> tuple[Tensor, Tensors]:
        """(r + gamma (1 - terminated) Q'(s', a') - Q(s, a))^2 with a' ~ pi'(s')    (policy evaluation)."""
        with no_grad():
            act_next_BA = sample(noise["eps"], *targets["policy"](batch["obs_next"])).clamp(-max_action, max_action)
            value_B = targets["critic"](batch["obs_next"], act_next_BA)
            y_B = n_step_target(batch["rew"], batch["num_steps"], batch["terminated"], value_B, hp["gamma"])
        loss = F.mse_loss(nets["critic"](batch["obs"], batch["act"]), y_B)
        return loss, {"critic_loss": loss}

    def actor_loss(nets: Nets, targets: Nets, batch: Tensors, noise: Tensors, hp: Tensors) -> tuple[Tensor, Tensors]:
        """-f(Q, pi, s, a) log pi(a|s)    (policy learning)."""
        with no_grad():
            mean_BA, log_std_BA = nets["policy"](batch["obs"])
            act_BNA = sample(noise["eps"], mean_BA.unsqueeze(1), log_std_BA.unsqueeze(1))
            act_BNA = act_BNA.clamp(-max_action, max_action)
            q_BN = nets["critic"](batch["obs"].unsqueeze(1).expand(-1, num_samples, -1), act_BNA)
            weight_B = regression_weights(nets["critic"](batch["obs"], batch["act"]), q_BN, hp, weight)
        loss = -(weight_B * log_likelihood(nets, batch)).mean()
        return loss, {"actor_loss": loss}

    return Algorithm(
        stages=(
            Stage(actor_loss, trains=("policy",), noise={"eps": Draw("normal", (num_samples, sizes.act_dim))}),
            Stage(critic_loss, trains=("critic",), noise={"eps": Draw("normal", (sizes.act_dim,))}),
        ),
        targets={name: Target(name, rate=None, every=cfg.target_update_freq) for name in ("policy", "critic")},
        act=mean_act,
        swept=SWEPT,
    )


def networks(cfg: CRRConfig, network: MLPNetworkConfig, sizes: Sizes) -> dict[str, nn.Module]:
    """A Gaussian policy with a deviation of each state, and a critic."""
    return {
        "policy": gaussian_policy(network, sizes, has_state_std=True, log_std_range=LOG_STD_RANGE, std_bound="clip"),
        "critic": Critic(sizes.obs_dim, sizes.act_dim, **network.hidden),
    }


DEFINITION = Definition(CRRConfig, from_config, networks, SWEPT, ("policy", "critic"))
