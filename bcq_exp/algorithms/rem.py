"""Random ensemble mixture (arXiv:1907.04543, section 4.2): DQN on random convex combinations of several Q heads.

A single head is DQN, and its weight a number divided by itself, which may be 0: two are required.

Shape suffixes: H heads, B batch, A number of actions.
"""

from dataclasses import dataclass
from typing import Unpack

import torch
from torch import Tensor, nn, no_grad

from bcq_exp.algorithms import dqn
from bcq_exp.algorithms.definition import Definition
from bcq_exp.algorithms.form import Algorithm, Draw, Nets, Stage, Tensors
from bcq_exp.fields import within
from bcq_exp.networks import NetworkConfig, Sizes


@dataclass(kw_only=True)
class REMConfig(dqn.QLearningConfig):
    """Keys of `conf/algorithm/rem.yaml`."""

    num_heads: int = within(2)


def mixture(nets: Nets, weight_H: Tensor) -> Nets:
    """The networks with sum_h weight_h Q_h(s, .), (B, A), as `model`."""
    heads = dqn.with_values(nets, len(weight_H))["model"]
    return {**nets, "model": lambda obs: torch.einsum("h,hba->ba", weight_H, heads(obs))}


def build(
    *, num_heads: int, is_double: bool, clip_loss_grad: bool, **bootstrapping: Unpack[dqn.Bootstrapping]
) -> Algorithm:
    """REM as stages: DQN's step on sum_h alpha_h Q_h, with the same alpha in the target    (eq. 7).

    alpha is drawn once for a minibatch, uniformly in [0, 1) for each head and then divided by its sum. The mean of the
    heads acts.
    """

    def loss(nets: Nets, targets: Nets, batch: Tensors, noise: Tensors, hp: Tensors) -> tuple[Tensor, Tensors]:
        drawn_H = noise["alpha"][0]
        alpha_H = drawn_H / drawn_H.sum()
        mixed, slow = (mixture(group, alpha_H) for group in (nets, targets))
        with no_grad():
            y_B = dqn.q_learning_target(mixed, slow, batch, hp, batch.get("mask_next"), is_double=is_double)
        q_loss = dqn.td_loss(mixed["model"](batch["obs"]), batch["act"], y_B, clip_loss_grad=clip_loss_grad)
        return q_loss, {"loss": q_loss}

    def act(nets: Nets, batch: Tensors, noise: Tensors, hp: Tensors) -> dict[str, Tensor]:
        q_HBA = dqn.with_values(nets, num_heads)["model"](batch["obs"])
        return dqn.greedy(dqn.mean_value(q_HBA), batch, hp)

    return dqn.q_learning_algorithm(
        Stage(loss, trains=("model",), noise={"alpha": Draw("uniform", (num_heads,))}), act, dqn.SWEPT, **bootstrapping
    )


def from_config(cfg: REMConfig, sizes: Sizes) -> Algorithm:
    """The algorithm that a configuration describes."""
    return build(num_heads=cfg.num_heads, **cfg.q_learning)


def networks(cfg: REMConfig, network: NetworkConfig, sizes: Sizes) -> dict[str, nn.Module]:
    """The Q heads on layers that they share but for the last: H A raw linear outputs."""
    return network.heads({"model": cfg.num_heads * sizes.act_dim}, sizes)


DEFINITION = Definition(REMConfig, from_config, networks, dqn.SWEPT)
