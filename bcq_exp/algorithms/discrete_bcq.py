"""Discrete BCQ (arXiv:1910.01708): Q-learning among the actions that an imitator finds likely.

Shape suffixes: B batch, A number of actions.
"""

from dataclasses import dataclass, replace
from typing import Unpack

import torch
import torch.nn.functional as F
from torch import Tensor, nn, no_grad

from bcq_exp.algorithms import diagnostics, dqn, qrdqn
from bcq_exp.algorithms.definition import Definition
from bcq_exp.algorithms.form import Algorithm, Nets, Stage, Tensors
from bcq_exp.fields import within
from bcq_exp.networks import NetworkConfig, Sizes
from bcq_exp.ops.discrete import among_available, likely_actions, masked_argmax

SWEPT = dqn.SWEPT | frozenset({"unlikely_action_threshold", "imitation_logits_penalty"})


@dataclass(kw_only=True)
class DiscreteBCQConfig(qrdqn.QuantileCriticConfig):
    """Keys of `conf/algorithm/discrete_bcq.yaml`."""

    unlikely_action_threshold: float = within(0, 1)
    imitation_logits_penalty: float = within(0)


def bcq_target(nets: Nets, targets: Nets, batch: Tensors, hp: Tensors, *, is_double: bool) -> Tensor:
    """The Q-learning target whose argmax is taken among the likely and available actions of s_m only.

    (B,), or (N, B) where `model` gives N quantiles of each action, whose mean is ranked.
    """
    logits_BA = nets["imitator"](batch["obs_next"])
    likely_BA = likely_actions(logits_BA, hp["unlikely_action_threshold"], batch.get("mask_next"))
    return dqn.q_learning_target(nets, targets, batch, hp, likely_BA, is_double=is_double)


def mean_square(logits_BA: Tensor, available_BA: Tensor | None) -> Tensor:
    """Mean square of the logits of all available actions of the batch, 0-d."""
    if available_BA is None:
        return logits_BA.square().mean()
    return logits_BA.masked_fill(~available_BA, 0).square().sum() / available_BA.sum()


def kept_actions(logits_BA: Tensor, available_BA: Tensor | None, hp: Tensors) -> Tensor:
    """Share of the available actions of a state that are likely, a mean over the batch, 0-d."""
    likely_BA = likely_actions(logits_BA, hp["unlikely_action_threshold"], available_BA)
    allowed_BA = torch.ones_like(likely_BA) if available_BA is None else available_BA
    return (likely_BA.sum(-1) / allowed_BA.sum(-1)).mean()


def build(
    *, num_quantiles: int | None, is_double: bool, clip_loss_grad: bool, **bootstrapping: Unpack[dqn.Bootstrapping]
) -> Algorithm:
    """Discrete BCQ as stages: one step on

    L = L_TD + CE(G(s), a) + penalty mean(logits^2)

    where L_TD's target chooses among the actions with G(a|s') / max_b G(b|s') >= threshold; the rule uses the imitator
    as it is before this step. The penalty is on raw logits, as in the published code; it and the cross entropy are
    those of the available actions. With quantiles L_TD is QR-DQN's, and the mean of the quantiles chooses, as in
    d3rlpy's reproduction on Atari.
    """

    def loss(nets: Nets, targets: Nets, batch: Tensors, noise: Tensors, hp: Tensors) -> tuple[Tensor, Tensors]:
        critic, slow = (qrdqn.critic_nets(group, num_quantiles) for group in (nets, targets))
        with no_grad():
            y_B = bcq_target(critic, slow, batch, hp, is_double=is_double)
        q_loss = qrdqn.critic_loss(critic["model"](batch["obs"]), batch["act"], y_B, clip_loss_grad=clip_loss_grad)
        logits_BA = nets["imitator"](batch["obs"])
        i_loss = F.cross_entropy(among_available(logits_BA, batch.get("mask")), batch["act"])
        reg_loss = mean_square(logits_BA, batch.get("mask"))
        total = q_loss + i_loss + hp["imitation_logits_penalty"] * reg_loss
        return total, {"loss": total, "q_loss": q_loss, "i_loss": i_loss, "reg_loss": reg_loss}

    def act(nets: Nets, batch: Tensors, noise: Tensors, hp: Tensors) -> dict[str, Tensor]:
        q_BA = dqn.mean_value(qrdqn.critic_nets(nets, num_quantiles)["model"](batch["obs"]))
        logits_BA = nets["imitator"](batch["obs"])
        likely_BA = likely_actions(logits_BA, hp["unlikely_action_threshold"], batch.get("mask"))
        return {
            "act": masked_argmax(q_BA, likely_BA),
            "logits": logits_BA,
            "q_value": dqn.denormalize(q_BA, hp),
            "imitation_logits": logits_BA,
        }

    algorithm = dqn.q_learning_algorithm(Stage(loss, trains=("model", "imitator")), act, SWEPT, **bootstrapping)
    values_and_imitator = diagnostics.of_q_learning(act)

    def diagnose(nets: Nets, batch: Tensors, noise: Tensors, hp: Tensors) -> dict[str, Tensor]:
        kept = kept_actions(nets["imitator"](batch["obs"]), batch.get("mask"), hp)
        return {**values_and_imitator(nets, batch, noise, hp), "kept_actions": kept}

    return replace(algorithm, diagnose=diagnose)


def from_config(cfg: DiscreteBCQConfig, sizes: Sizes) -> Algorithm:
    """The algorithm that a configuration describes."""
    return build(num_quantiles=cfg.num_quantiles, **cfg.q_learning)


def networks(cfg: DiscreteBCQConfig, network: NetworkConfig, sizes: Sizes) -> dict[str, nn.Module]:
    """The critic, with raw linear outputs (A,), or (N A,) for N quantiles, and the imitator, with (A,).

    On images they share the convolutions.
    """
    outputs = {"model": qrdqn.critic_outputs(cfg.num_quantiles, sizes), "imitator": sizes.act_dim}
    return network.heads(outputs, sizes)


DEFINITION = Definition(DiscreteBCQConfig, from_config, networks, SWEPT)
