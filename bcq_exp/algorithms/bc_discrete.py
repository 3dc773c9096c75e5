"""Behavioural cloning of discrete actions: classification.

Shape suffixes: B batch, A number of actions.
"""

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn

from bcq_exp.algorithms import diagnostics
from bcq_exp.algorithms.definition import Definition
from bcq_exp.algorithms.form import Algorithm, Nets, Stage, Tensors
from bcq_exp.algorithms.schema import DiscreteConfig
from bcq_exp.networks import NetworkConfig, Sizes
from bcq_exp.ops.discrete import among_available, masked_argmax

SWEPT = frozenset({"eval_eps"})


@dataclass(kw_only=True)
class DiscreteBCConfig(DiscreteConfig):
    """Keys of `conf/algorithm/bc_discrete.yaml`."""


def loss(nets: Nets, targets: Nets, batch: Tensors, noise: Tensors, hp: Tensors) -> tuple[Tensor, Tensors]:
    """-mean log G(a|s), G being a distribution over the available actions."""
    imitation = F.cross_entropy(among_available(nets["imitator"](batch["obs"]), batch.get("mask")), batch["act"])
    return imitation, {"loss": imitation}


def act(nets: Nets, batch: Tensors, noise: Tensors, hp: Tensors) -> dict[str, Tensor]:
    """argmax_a G(a|s) among the available actions."""
    logits_BA = nets["imitator"](batch["obs"])
    return {"act": masked_argmax(logits_BA, batch.get("mask")), "logits": logits_BA, "imitation_logits": logits_BA}


def diagnose(nets: Nets, batch: Tensors, noise: Tensors, hp: Tensors) -> dict[str, Tensor]:
    """Accuracy and entropy."""
    return diagnostics.of_imitator(nets["imitator"](batch["obs"]), batch)


def from_config(cfg: DiscreteBCConfig, sizes: Sizes) -> Algorithm:
    """Cloning of discrete actions, as stages."""
    return Algorithm(
        stages=(Stage(loss, trains=("imitator",)),),
        targets={},
        act=act,
        diagnose=diagnose,
        swept=SWEPT,
        recurrent=("imitator",),
    )


def networks(cfg: DiscreteBCConfig, network: NetworkConfig, sizes: Sizes) -> dict[str, nn.Module]:
    """An imitator with raw linear outputs (A,)."""
    return network.per_action(["imitator"], sizes)


DEFINITION = Definition(DiscreteBCConfig, from_config, networks, SWEPT)
