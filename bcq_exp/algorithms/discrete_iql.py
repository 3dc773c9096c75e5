"""Implicit Q-learning (arXiv:2110.06169, algorithm 1) for discrete actions.

The losses are those of continuous actions, in the same order. A critic has an output for each action, of which the
losses read that of the dataset's alone; the policy is a categorical distribution, of which the most probable action is
taken.

Shape suffixes: N critics, B batch, A number of actions.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bcq_exp.algorithms import diagnostics, iql
from bcq_exp.algorithms.definition import Definition
from bcq_exp.algorithms.discrete_crr import greedy_act
from bcq_exp.algorithms.form import Algorithm, Nets, Stage, Target, Tensors
from bcq_exp.algorithms.schema import DiscreteConfig
from bcq_exp.networks import NetworkConfig, Sizes
from bcq_exp.ops.discrete import among_available, take_action

SWEPT = iql.SWEPT | {"eval_eps"}
CRITICS = {"critic1": "model1", "critic2": "model2"}  # the names that the losses use, and those of the networks


@dataclass(kw_only=True)
class DiscreteIQLConfig(iql.ImplicitConfig, DiscreteConfig):
    """Keys of `conf/algorithm/discrete_iql.yaml`."""


def of_action(nets: Nets) -> Nets:
    """The networks as the losses of continuous actions call them: critics of (s, a), and a value without an axis."""

    def critic(name: str) -> Nets:
        return {name: lambda obs, act_B: take_action(nets[CRITICS[name]](obs), act_B)}

    value: Nets = {"value": lambda obs: nets["value"](obs).squeeze(-1)}
    return {**value, **critic("critic1"), **critic("critic2")}


def value_loss(nets: Nets, targets: Nets, batch: Tensors, noise: Tensors, hp: Tensors) -> tuple[Tensor, Tensors]:
    """L2^tau(min_j Q_j'(s, a) - V(s))    (eq. 5)."""
    return iql.value_loss(of_action(nets), of_action(targets), batch, noise, hp)


def actor_loss(nets: Nets, targets: Nets, batch: Tensors, noise: Tensors, hp: Tensors) -> tuple[Tensor, Tensors]:
    """-min(exp(beta (min_j Q_j'(s, a) - V(s))), max_weight) log pi(a|s)    (eq. 7; the bound is the code's)."""
    weight_B = iql.regression_weights(of_action(nets), of_action(targets), batch, hp)
    logits_BA = among_available(nets["policy"](batch["obs"]), batch.get("mask"))
    loss = (weight_B * F.cross_entropy(logits_BA, batch["act"], reduction="none")).mean()
    return loss, {"actor_loss": loss}


def critic_loss(nets: Nets, targets: Nets, batch: Tensors, noise: Tensors, hp: Tensors) -> tuple[Tensor, Tensors]:
    """sum_j (r + gamma (1 - terminated) V(s') - Q_j(s, a))^2    (eq. 6)."""
    return iql.critic_loss(of_action(nets), of_action(targets), batch, noise, hp)


def diagnose(nets: Nets, batch: Tensors, noise: Tensors, hp: Tensors) -> dict[str, Tensor]:
    """The twins' values, and the policy's agreement with the data."""
    q_NBA = torch.stack([nets[name](batch["obs"]) for name in CRITICS.values()])
    return diagnostics.of_discrete_values(q_NBA, greedy_act(nets, batch, noise, hp)["act"], batch)


def from_config(cfg: DiscreteIQLConfig, sizes: Sizes) -> Algorithm:
    """IQL as stages: value, policy, critics, as in the published code."""
    return Algorithm(
        stages=(
            Stage(value_loss, trains=("value",)),
            Stage(actor_loss, trains=("policy",)),
            Stage(critic_loss, trains=tuple(CRITICS.values())),
        ),
        targets={name: Target(name, rate="tau", every=1) for name in CRITICS.values()},
        act=greedy_act,
        diagnose=diagnose,
        swept=SWEPT,
    )


def networks(cfg: DiscreteIQLConfig, network: NetworkConfig, sizes: Sizes) -> dict[str, nn.Module]:
    """A policy and twin critics with raw linear outputs (A,), and a value (1,).

    On images the twins share their convolutions; policy and value, which have steps of their own, have their own.
    """
    value = network.heads({"value": 1}, sizes)
    return {**network.per_action(["policy"], sizes), **value, **network.per_action(list(CRITICS.values()), sizes)}


DEFINITION = Definition(DiscreteIQLConfig, from_config, networks, SWEPT, ("value", "policy", "critics"))
