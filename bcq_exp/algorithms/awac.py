"""Advantage-weighted actor-critic (arXiv:2006.09359, algorithm 1), offline.

As in the published code, the state's value is that of one action of the policy, twin critics are taken by their
minimum, and the samples of the policy are judged where they fall. The paper leaves the weights' normaliser Z(s) out;
the published code, on which its results stand, divides them by their mean over the batch (`normalization`).

Departures: the published policy has four hidden layers; here networks have one shape. Its weight decay of 1e-4 is
`algorithm.optimizers.policy.weight_decay=1e-4`. The published policy's advantages are those of the critics before
their step; here, as in algorithm 1, after it. Weights that are not normalised are at most e^20, where the paper bounds
none. Initial weights are torch's own; the published ones (rail-berkeley/rlkit, rlkit/torch/networks/mlp.py) are
`network.init=fan_in network.last_layer_scale=3e-3 network.policy_last_layer_scale=1e-3`, but for biases, which are 0
there.

Shape suffixes: B batch, A action.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn, no_grad

from bcq_exp.algorithms import diagnostics
from bcq_exp.algorithms.bc import gaussian_policy, log_likelihood, mean_act
from bcq_exp.algorithms.definition import Definition
from bcq_exp.algorithms.form import Algorithm, Draw, Nets, Stage, Target, Tensors
from bcq_exp.algorithms.schema import ContinuousConfig
from bcq_exp.algorithms.td3 import CRITICS, smallest_value, twin_critics, twin_regression
from bcq_exp.fields import one_of, within
from bcq_exp.networks import MLPNetworkConfig, Sizes
from bcq_exp.ops.gaussian import sample
from bcq_exp.ops.td import n_step_target

LOG_STD_RANGE = (-6.0, 0.0)  # the published code: examples/awac/mujoco/awac1.py
LARGEST_EXPONENT = 20.0  # of a bare weight: exp overflows beyond 88, and Adam's square of a gradient far before

SWEPT = frozenset({"gamma", "tau", "lmbda"})


@dataclass(kw_only=True)
class AWACConfig(ContinuousConfig):
    """Keys of `conf/algorithm/awac.yaml`."""

    gamma: float = within(0, 1)
    tau: float = within(0, 1, is_low_open=True)
    lmbda: float = within(0, is_low_open=True)
    normalization: str = one_of("batch", "none")


def advantage_weights(advantage_B: Tensor, lmbda: Tensor, normalization: str) -> Tensor:
    """exp(A / lambda), (B,), at most e^20, or divided by its mean over the batch, so that the weights sum to B.

    Args:
        advantage_B: A(s, a), (B,).
        lmbda: temperature, 0-d, above 0: the larger, the nearer is each weight to 1.
        normalization: `batch` or `none`.
    """
    if normalization == "batch":
        return len(advantage_B) * torch.softmax(advantage_B / lmbda, 0)
    return (advantage_B / lmbda).clamp(max=LARGEST_EXPONENT).exp()


def critic_loss(nets: Nets, targets: Nets, batch: Tensors, noise: Tensors, hp: Tensors) -> tuple[Tensor, Tensors]:
    """sum_j (r + gamma (1 - terminated) min_i Q_i'(s', a') - Q_j(s, a))^2 with a' ~ pi(s')    (policy evaluation)."""
    with no_grad():
        act_next_BA = sample(noise["eps"], *nets["policy"](batch["obs_next"]))
        value_B = smallest_value(targets, batch["obs_next"], act_next_BA)
        y_B = n_step_target(batch["rew"], batch["num_steps"], batch["terminated"], value_B, hp["gamma"])
    return twin_regression(nets, batch, y_B)


def from_config(cfg: AWACConfig, sizes: Sizes) -> Algorithm:
    """AWAC as stages: critics, then policy, as in algorithm 1."""
    normalization = cfg.normalization

    def actor_loss(nets: Nets, targets: Nets, batch: Tensors, noise: Tensors, hp: Tensors) -> tuple[Tensor, Tensors]:
        """-w(A / lambda) log pi(a|s), A = min_j Q_j(s, a) - min_j Q_j(s, a_pi) with a_pi ~ pi(s)    (algorithm 1)."""
        with no_grad():
            act_BA = sample(noise["eps"], *nets["policy"](batch["obs"]))
            value_B = smallest_value(nets, batch["obs"], act_BA)
            advantage_B = smallest_value(nets, batch["obs"], batch["act"]) - value_B
            weight_B = advantage_weights(advantage_B, hp["lmbda"], normalization)
        loss = -(weight_B * log_likelihood(nets, batch)).mean()
        return loss, {"actor_loss": loss}

    noise = {"eps": Draw("normal", (sizes.act_dim,))}
    return Algorithm(
        stages=(
            Stage(critic_loss, trains=CRITICS, noise=noise),
            Stage(actor_loss, trains=("policy",), noise=noise),
        ),
        targets={name: Target(name, rate="tau", every=1) for name in CRITICS},
        act=mean_act,
        diagnose=diagnostics.of_critics(mean_act, CRITICS),
        swept=SWEPT,
        scalar=CRITICS,
    )


def networks(cfg: AWACConfig, network: MLPNetworkConfig, sizes: Sizes) -> dict[str, nn.Module]:
    """A Gaussian policy whose deviation knows no state, and twin critics with weights of their own."""
    return {
        "policy": gaussian_policy(
            network, sizes, has_state_std=False, log_std_range=LOG_STD_RANGE, std_bound="sigmoid"
        ),
        **twin_critics(network, sizes),
    }


DEFINITION = Definition(AWACConfig, from_config, networks, SWEPT, ("critics", "policy"))
