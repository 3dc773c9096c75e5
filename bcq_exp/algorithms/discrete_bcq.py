"""Discrete BCQ (arXiv:1910.01708): Q-learning among the actions that an imitator finds likely.

Shape suffixes: B batch, A number of actions.
"""

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn, no_grad

from bcq_exp.algorithms import dqn
from bcq_exp.algorithms.form import Algorithm, Nets, Stage, Tensors
from bcq_exp.algorithms.schema import NetworkConfig, Sizes, within
from bcq_exp.ops.discrete import likely_actions, masked_argmax

SWEPT = frozenset({"gamma", "eval_eps", "unlikely_action_threshold", "imitation_logits_penalty"})


@dataclass(kw_only=True)
class DiscreteBCQConfig(dqn.QLearningConfig):
    """Keys of `conf/algorithm/discrete_bcq.yaml`."""

    unlikely_action_threshold: float = within(0, 1)
    imitation_logits_penalty: float = within(0)


def bcq_target(nets: Nets, targets: Nets, batch: Tensors, hp: Tensors, *, is_double: bool) -> Tensor:
    """The Q-learning target (B,) whose argmax is taken among the likely and available actions of s_m only."""
    logits_BA = nets["imitator"](batch["obs_next"])
    likely_BA = likely_actions(logits_BA, hp["unlikely_action_threshold"], batch.get("mask_next"))
    return dqn.q_learning_target(nets, targets, batch, hp, likely_BA, is_double=is_double)


def build(
    *,
    is_double: bool,
    clip_loss_grad: bool,
    target_update_freq: int,
    estimation_step: int,
    reward_normalization: bool,
) -> Algorithm:
    """Discrete BCQ as stages: one step on

    L = L_TD + CE(G(s), a) + penalty mean(logits^2)

    where L_TD's target chooses among the actions with G(a|s') / max_b G(b|s') >= threshold; the rule uses the imitator
    as it is before this step. The penalty is on raw logits, as in the published code.
    """

    def loss(nets: Nets, targets: Nets, batch: Tensors, noise: Tensors, hp: Tensors) -> tuple[Tensor, Tensors]:
        with no_grad():
            y_B = bcq_target(nets, targets, batch, hp, is_double=is_double)
        q_loss = dqn.td_loss(nets["model"](batch["obs"]), batch["act"], y_B, clip_loss_grad=clip_loss_grad)
        logits_BA = nets["imitator"](batch["obs"])
        i_loss = F.cross_entropy(logits_BA, batch["act"])
        reg_loss = logits_BA.square().mean()
        total = q_loss + i_loss + hp["imitation_logits_penalty"] * reg_loss
        return total, {"loss": total, "q_loss": q_loss, "i_loss": i_loss, "reg_loss": reg_loss}

    def act(nets: Nets, batch: Tensors, noise: Tensors, hp: Tensors) -> dict[str, Tensor]:
        q_BA, logits_BA = nets["model"](batch["obs"]), nets["imitator"](batch["obs"])
        likely_BA = likely_actions(logits_BA, hp["unlikely_action_threshold"], batch.get("mask"))
        return {
            "act": masked_argmax(q_BA, likely_BA),
            "logits": logits_BA,
            "q_value": dqn.denormalize(q_BA, hp),
            "imitation_logits": logits_BA,
        }

    return dqn.q_learning_algorithm(
        Stage(loss, trains=("model", "imitator")),
        act,
        SWEPT,
        target_update_freq=target_update_freq,
        estimation_step=estimation_step,
        reward_normalization=reward_normalization,
    )


def from_config(cfg: DiscreteBCQConfig, sizes: Sizes) -> Algorithm:
    """The algorithm that a configuration describes."""
    return build(**cfg.q_learning)


def networks(cfg: DiscreteBCQConfig, network: NetworkConfig, sizes: Sizes) -> dict[str, nn.Module]:
    """The Q network and the imitator, each with raw linear outputs (A,); on images they share the convolutions."""
    return network.per_action(["model", "imitator"], sizes)
