"""Implicit Q-learning (arXiv:2110.06169, algorithm 1): no action is judged that the dataset does not have.

The order, the twin critics and the policy (one deviation for all states, a mean within the bounds) are the published
code's; so is a cosine of the policy's rate over 1e6 updates (`algorithm.optimizers.policy.lr_decay=cosine`), which is
no default here. There all initial weights are orthogonal (`network.init=orthogonal`), and on Adroit and Kitchen the
policy has dropout (`network.dropout=0.1`); neither is a default here.

Shape suffix: B batch.
"""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn, no_grad

from bcq_exp.algorithms import diagnostics
from bcq_exp.algorithms.bc import LOG_STD_RANGE, gaussian_policy, mean_act
from bcq_exp.algorithms.definition import Definition
from bcq_exp.algorithms.form import Algorithm, Draw, Nets, Stage, Target, Tensors
from bcq_exp.algorithms.schema import AlgorithmConfig, ContinuousConfig
from bcq_exp.algorithms.td3 import CRITICS, smallest_value, twin_critics, twin_regression
from bcq_exp.fields import within
from bcq_exp.networks import MLPNetworkConfig, Sizes, Value
from bcq_exp.ops.expectile import expectile_loss
from bcq_exp.ops.gaussian import log_prob
from bcq_exp.ops.td import n_step_target

SWEPT = frozenset({"gamma", "tau", "expectile", "beta", "max_weight"})


@dataclass(kw_only=True)
class ImplicitConfig(AlgorithmConfig):
    """Keys of implicit Q-learning, for both kinds of actions."""

    gamma: float = within(0, 1)
    tau: float = within(0, 1, is_low_open=True)
    expectile: float = within(0, 1, is_low_open=True)
    beta: float = within(0)
    max_weight: float = within(0, is_low_open=True)


@dataclass(kw_only=True)
class IQLConfig(ImplicitConfig, ContinuousConfig):
    """Keys of `conf/algorithm/iql.yaml`."""

    has_dropout: ClassVar[bool] = True


def value_loss(nets: Nets, targets: Nets, batch: Tensors, noise: Tensors, hp: Tensors) -> tuple[Tensor, Tensors]:
    """L2^tau(min_j Q_j'(s, a) - V(s))    (eq. 5)."""
    with no_grad():
        q_B = smallest_value(targets, batch["obs"], batch["act"])
    loss = expectile_loss(q_B - nets["value"](batch["obs"]), hp["expectile"])
    return loss, {"value_loss": loss}


def actor_loss(nets: Nets, targets: Nets, batch: Tensors, noise: Tensors, hp: Tensors) -> tuple[Tensor, Tensors]:
    """-min(exp(beta (min_j Q_j'(s, a) - V(s))), max_weight) log pi(a|s)    (eq. 7; the bound is the code's).

    Where there is `uniform` noise, it decides which of the policy's hidden units are silenced.
    """
    gaussian = nets["policy"](batch["obs"], *noise.values())
    loss = -(regression_weights(nets, targets, batch, hp) * log_prob(batch["act"], *gaussian)).mean()
    return loss, {"actor_loss": loss}


@no_grad()
def regression_weights(nets: Nets, targets: Nets, batch: Tensors, hp: Tensors) -> Tensor:
    """min(exp(beta (min_j Q_j'(s, a) - V(s))), max_weight), (B,): the weight of each action's likelihood."""
    advantage_B = smallest_value(targets, batch["obs"], batch["act"]) - nets["value"](batch["obs"])
    weight_B: Tensor = (hp["beta"] * advantage_B).exp().minimum(hp["max_weight"])
    return weight_B


def critic_loss(nets: Nets, targets: Nets, batch: Tensors, noise: Tensors, hp: Tensors) -> tuple[Tensor, Tensors]:
    """sum_j (r + gamma (1 - terminated) V(s') - Q_j(s, a))^2    (eq. 6)."""
    with no_grad():
        value_B = nets["value"](batch["obs_next"])
        y_B = n_step_target(batch["rew"], batch["num_steps"], batch["terminated"], value_B, hp["gamma"])
    return twin_regression(nets, batch, y_B)


def from_config(cfg: IQLConfig, sizes: Sizes) -> Algorithm:
    """IQL as stages: value, policy, critics, as in the published code."""
    dropout = {"uniform": Draw("uniform", (sizes.dropout_units,))} if sizes.dropout_units else {}
    return Algorithm(
        stages=(
            Stage(value_loss, trains=("value",)),
            Stage(actor_loss, trains=("policy",), noise=dropout),
            Stage(critic_loss, trains=CRITICS),
        ),
        targets={name: Target(name, rate="tau", every=1) for name in CRITICS},
        act=mean_act,
        diagnose=diagnostics.of_critics(mean_act, CRITICS),
        swept=SWEPT,
        scalar=CRITICS,
    )


def networks(cfg: IQLConfig, network: MLPNetworkConfig, sizes: Sizes) -> dict[str, nn.Module]:
    """A Gaussian policy whose deviation knows no state, a state value, and twin critics with weights of their own."""
    return {
        "policy": gaussian_policy(network, sizes, has_state_std=False, log_std_range=LOG_STD_RANGE, std_bound="clip"),
        "value": Value(sizes.obs_dim, **network.hidden),
        **twin_critics(network, sizes),
    }


DEFINITION = Definition(IQLConfig, from_config, networks, SWEPT, ("value", "policy", "critics"))
