"""SPIBB-DQN (arXiv:1712.06924): Q-learning that leaves to the behaviour what the data cannot tell.

A pair (s, a) is counted where the dataset has it often enough; where it is not, the policy takes the action as often as
the behaviour does. The paper counts pairs, or takes pseudo-counts from distances between states, and knows the
behaviour. Here the behaviour's probabilities are those of an imitator, learned beside the values as in discrete BCQ,
and a pair is counted where its probability, not its number, reaches a threshold: continuous states are never seen
twice. At 0 all pairs are counted, which is (double) DQN; above the largest probability none is, which is behavioural
cloning.

Shape suffixes: B batch, A number of actions.
"""

from dataclasses import dataclass, replace
from typing import Unpack

import torch
from torch import Tensor, nn, no_grad

from bcq_exp.algorithms import dqn
from bcq_exp.algorithms.definition import Definition
from bcq_exp.algorithms.form import Algorithm, Draw, Nets, Stage, Tensors
from bcq_exp.fields import within
from bcq_exp.networks import NetworkConfig, Sizes
from bcq_exp.ops.discrete import action_probabilities, draw_action, expected_value, masked_argmax

SWEPT = dqn.SWEPT | {"min_probability"}


@dataclass(kw_only=True)
class SPIBBDQNConfig(dqn.QLearningConfig):
    """Keys of `conf/algorithm/spibb_dqn.yaml`."""

    min_probability: float = within(0, 1)


def constrained_policy(q_BA: Tensor, logits_BA: Tensor, min_probability: Tensor, available_BA: Tensor | None) -> Tensor:
    """The policy of the largest value among those that keep the behaviour's probabilities of uncounted pairs, (B, A).

    pi(a|s) = G(a|s) where (s, a) is not counted; what the counted pairs have together goes to the best of them.
    """
    behaviour_BA = action_probabilities(logits_BA, available_BA)
    counted_BA = behaviour_BA >= min_probability
    if available_BA is not None:
        counted_BA = counted_BA & available_BA
    free_B = behaviour_BA.masked_fill(~counted_BA, 0).sum(-1)
    best_B = masked_argmax(q_BA, counted_BA)
    is_best_BA = torch.arange(q_BA.shape[-1], device=q_BA.device) == best_B.unsqueeze(-1)
    return behaviour_BA.masked_fill(counted_BA, 0) + free_B.unsqueeze(-1) * is_best_BA


def spibb_target(nets: Nets, targets: Nets, batch: Tensors, hp: Tensors, *, is_double: bool) -> Tensor:
    """The n-step target (B,) in the units of the Q network: y = r + gamma sum_a pi(a|s') Q'(s', a)."""
    q_BA, logits_BA = targets["model"](batch["obs_next"]), nets["imitator"](batch["obs_next"])
    ranked_BA = nets["model"](batch["obs_next"]) if is_double else q_BA
    pi_BA = constrained_policy(ranked_BA, logits_BA, hp["min_probability"], batch.get("mask_next"))
    return dqn.bootstrapped(expected_value(pi_BA, q_BA), batch, hp)


def act(nets: Nets, batch: Tensors, noise: Tensors, hp: Tensors) -> dict[str, Tensor]:
    """An action of the constrained policy, drawn as in the published code."""
    q_BA, logits_BA = nets["model"](batch["obs"]), nets["imitator"](batch["obs"])
    pi_BA = constrained_policy(q_BA, logits_BA, hp["min_probability"], batch.get("mask"))
    return {
        "act": draw_action(pi_BA, noise["choice"]),
        "probs": pi_BA,
        "q_value": dqn.denormalize(q_BA, hp),
        "imitation_logits": logits_BA,
    }


def build(*, is_double: bool, clip_loss_grad: bool, **bootstrapping: Unpack[dqn.Bootstrapping]) -> Algorithm:
    """SPIBB-DQN as stages: one step on L_TD + CE(G(s), a)."""

    def loss(nets: Nets, targets: Nets, batch: Tensors, noise: Tensors, hp: Tensors) -> tuple[Tensor, Tensors]:
        with no_grad():
            y_B = spibb_target(nets, targets, batch, hp, is_double=is_double)
        return dqn.td_and_imitation_loss(nets, batch, y_B, clip_loss_grad=clip_loss_grad)

    algorithm = dqn.q_learning_algorithm(Stage(loss, trains=("model", "imitator")), act, SWEPT, **bootstrapping)
    return replace(algorithm, act_noise={"choice": Draw("uniform", ())})


def from_config(cfg: SPIBBDQNConfig, sizes: Sizes) -> Algorithm:
    """The algorithm that a configuration describes."""
    return build(**cfg.q_learning)


def networks(cfg: SPIBBDQNConfig, network: NetworkConfig, sizes: Sizes) -> dict[str, nn.Module]:
    """The Q network and the imitator, each with raw linear outputs (A,); on images they share the convolutions."""
    return network.per_action(["model", "imitator"], sizes)


DEFINITION = Definition(SPIBBDQNConfig, from_config, networks, SWEPT)
