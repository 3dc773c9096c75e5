"""Behavioural cloning of continuous actions: by regression, or by likelihood.

Shape suffixes: B batch, A action dimensions.
"""

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn

from bcq_exp.algorithms.definition import Definition
from bcq_exp.algorithms.form import Algorithm, Nets, Stage, Tensors
from bcq_exp.algorithms.schema import ContinuousConfig
from bcq_exp.fields import one_of
from bcq_exp.networks import Actor, MLPNetworkConfig, Sizes, StochasticActor
from bcq_exp.ops.gaussian import log_prob

LOG_STD_RANGE = (-5.0, 2.0)  # of a Gaussian policy: the published code of arXiv:2110.06169, policy.py, learner.py


@dataclass(kw_only=True)
class BCConfig(ContinuousConfig):
    """Keys of `conf/algorithm/bc.yaml`."""

    policy: str = one_of("deterministic", "gaussian")


def bc_loss(nets: Nets, targets: Nets, batch: Tensors, noise: Tensors, hp: Tensors) -> tuple[Tensor, Tensors]:
    """mean (pi(s) - a)^2."""
    loss = F.mse_loss(nets["actor"](batch["obs"]), batch["act"])
    return loss, {"loss": loss}


def log_likelihood(nets: Nets, batch: Tensors) -> Tensor:
    """log pi(a|s) of the dataset's actions under a Gaussian policy, (B,)."""
    return log_prob(batch["act"], *nets["policy"](batch["obs"]))


def gaussian_bc_loss(nets: Nets, targets: Nets, batch: Tensors, noise: Tensors, hp: Tensors) -> tuple[Tensor, Tensors]:
    """-mean log pi(a|s)."""
    loss = -log_likelihood(nets, batch).mean()
    return loss, {"loss": loss}


def deterministic_act(nets: Nets, batch: Tensors, noise: Tensors, hp: Tensors) -> dict[str, Tensor]:
    """pi(s)."""
    return {"act": nets["actor"](batch["obs"])}


def mean_act(nets: Nets, batch: Tensors, noise: Tensors, hp: Tensors) -> dict[str, Tensor]:
    """The mean of a Gaussian policy, whose density is largest there."""
    mean_BA, _ = nets["policy"](batch["obs"])
    return {"act": mean_BA}


def from_config(cfg: BCConfig, sizes: Sizes) -> Algorithm:
    """Cloning of continuous actions, as stages."""
    if cfg.policy == "gaussian":
        return Algorithm((Stage(gaussian_bc_loss, trains=("policy",)),), targets={}, act=mean_act, swept=frozenset())
    return Algorithm(stages=(Stage(bc_loss, trains=("actor",)),), targets={}, act=deterministic_act, swept=frozenset())


def networks(cfg: BCConfig, network: MLPNetworkConfig, sizes: Sizes) -> dict[str, nn.Module]:
    """A deterministic actor, or a Gaussian policy."""
    if cfg.policy == "gaussian":
        head = gaussian_policy(network, sizes, has_state_std=False, log_std_range=LOG_STD_RANGE, std_bound="clip")
        return {"policy": head}
    return {"actor": Actor(sizes.obs_dim, sizes.act_dim, max_action=sizes.max_action, **network.hidden)}


def gaussian_policy(
    network: MLPNetworkConfig,
    sizes: Sizes,
    *,
    has_state_std: bool,
    log_std_range: tuple[float, float],
    std_bound: str,
    is_squashed: bool = False,
) -> StochasticActor:
    """A Gaussian policy of the configured width; keywords as `StochasticActor` takes them."""
    return StochasticActor(
        sizes.obs_dim,
        sizes.act_dim,
        max_action=sizes.max_action,
        is_squashed=is_squashed,
        has_state_std=has_state_std,
        log_std_range=log_std_range,
        std_bound=std_bound,
        dropout=network.dropout,
        **network.hidden,
    )


DEFINITION = Definition(BCConfig, from_config, networks, frozenset())
