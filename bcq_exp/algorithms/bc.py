"""Behavioural cloning: of continuous actions by regression, of discrete ones by classification.

Shape suffixes: B batch, A action dimensions or number of actions.
"""

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn

from bcq_exp.algorithms.form import Algorithm, Nets, Stage, Tensors
from bcq_exp.algorithms.schema import ContinuousConfig, DiscreteConfig, MLPNetworkConfig, NetworkConfig, Sizes
from bcq_exp.networks import Actor
from bcq_exp.ops.discrete import masked_argmax

DISCRETE_SWEPT = frozenset({"eval_eps"})


@dataclass(kw_only=True)
class BCConfig(ContinuousConfig):
    """Keys of `conf/algorithm/bc.yaml`."""


@dataclass(kw_only=True)
class DiscreteBCConfig(DiscreteConfig):
    """Keys of `conf/algorithm/bc_discrete.yaml`."""


def bc_loss(nets: Nets, targets: Nets, batch: Tensors, noise: Tensors, hp: Tensors) -> tuple[Tensor, Tensors]:
    """mean (pi(s) - a)^2."""
    loss = F.mse_loss(nets["actor"](batch["obs"]), batch["act"])
    return loss, {"loss": loss}


def discrete_bc_loss(nets: Nets, targets: Nets, batch: Tensors, noise: Tensors, hp: Tensors) -> tuple[Tensor, Tensors]:
    """-mean log G(a|s)."""
    loss = F.cross_entropy(nets["imitator"](batch["obs"]), batch["act"])
    return loss, {"loss": loss}


def deterministic_act(nets: Nets, batch: Tensors, noise: Tensors, hp: Tensors) -> dict[str, Tensor]:
    """pi(s)."""
    return {"act": nets["actor"](batch["obs"])}


def most_probable_act(nets: Nets, batch: Tensors, noise: Tensors, hp: Tensors) -> dict[str, Tensor]:
    """argmax_a G(a|s) among the available actions."""
    logits_BA = nets["imitator"](batch["obs"])
    return {"act": masked_argmax(logits_BA, batch.get("mask")), "logits": logits_BA, "imitation_logits": logits_BA}


def from_config(cfg: BCConfig, sizes: Sizes) -> Algorithm:
    """Cloning of continuous actions, as stages."""
    return Algorithm(stages=(Stage(bc_loss, trains=("actor",)),), targets={}, act=deterministic_act, swept=frozenset())


def networks(cfg: BCConfig, network: MLPNetworkConfig, sizes: Sizes) -> dict[str, nn.Module]:
    """A deterministic actor."""
    return {"actor": Actor(sizes.obs_dim, sizes.act_dim, max_action=sizes.max_action, **network.hidden)}


def discrete_from_config(cfg: DiscreteBCConfig, sizes: Sizes) -> Algorithm:
    """Cloning of discrete actions, as stages."""
    return Algorithm(
        stages=(Stage(discrete_bc_loss, trains=("imitator",)),),
        targets={},
        act=most_probable_act,
        swept=DISCRETE_SWEPT,
    )


def discrete_networks(cfg: DiscreteBCConfig, network: NetworkConfig, sizes: Sizes) -> dict[str, nn.Module]:
    """An imitator with raw linear outputs (A,)."""
    return network.per_action(["imitator"], sizes)
