"""Diagnostics of trained networks on logged rows: what the values promise, and how far the policy is from the data.

Each is a mean over the rows. Values and returns are in the units of the rewards that the learner sees.

    return_logged     discounted return from each row on, to where its episode or its recording ends
    q_logged          Q(s, a) of the logged action, the mean of the critics
    q_policy          Q(s, pi(s)) of the policy's action, likewise
    critic_gap        the critics' largest minus their smallest Q(s, a), |Q1 - Q2| for twins
    agreement         share of logged actions that the policy would take too
    kept_actions      share of the available actions that discrete BCQ's constraint leaves
    imitator_accuracy share of logged actions that the imitator finds likeliest
    imitator_entropy  of the imitator's distribution, in nats
    saturation        share of the perturbations of BCQ that are near their largest size
    reconstruction    square error of the generative model's actions, a mean over dimensions, in policy units
    kl                divergence of its posterior from the prior, a mean over latent dimensions, in nats

Values far above the returns are those that arXiv:1812.02900 shows in its figure 1: of actions that the data lack.

Shape suffixes: N critics, B batch, A action, or number of discrete actions.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from bcq_exp.algorithms.form import Act, Diagnose, Nets, Tensors
from bcq_exp.ops.discrete import action_probabilities, masked_argmax, take_action


def of_values(q_logged_NB: Tensor, q_policy_NB: Tensor, batch: Tensors) -> dict[str, Tensor]:
    """Diagnose the values of logged actions and of the policy's; a gap where there are several critics."""
    found = {"return_logged": batch["returns"].mean(), "q_logged": q_logged_NB.mean(), "q_policy": q_policy_NB.mean()}
    if len(q_logged_NB) > 1:
        found["critic_gap"] = (q_logged_NB.amax(0) - q_logged_NB.amin(0)).mean()
    return found


def of_discrete_values(q_NBA: Tensor, act_B: Tensor, batch: Tensors) -> dict[str, Tensor]:
    """Diagnose the values of all discrete actions, in reward units, and the policy's actions."""
    q_logged_NB, q_policy_NB = (take_action(q_NBA, each_B) for each_B in (batch["act"], act_B))
    agrees_B = (act_B == batch["act"]).to(q_NBA.dtype)
    return {**of_values(q_logged_NB, q_policy_NB, batch), "agreement": agrees_B.mean()}


def of_imitator(logits_BA: Tensor, batch: Tensors) -> dict[str, Tensor]:
    """Diagnose an imitator, a distribution over the available actions."""
    available_BA = batch.get("mask")
    is_likeliest_B = masked_argmax(logits_BA, available_BA) == batch["act"]
    entropy_B = torch.special.entr(action_probabilities(logits_BA, available_BA)).sum(-1)
    return {"imitator_accuracy": is_likeliest_B.to(logits_BA.dtype).mean(), "imitator_entropy": entropy_B.mean()}


def of_q_learning(act: Act) -> Diagnose:
    """Diagnose what a rule of action returns: `q_value` and, where it has one, its imitator."""

    def diagnose(nets: Nets, batch: Tensors, noise: Tensors, hp: Tensors) -> dict[str, Tensor]:
        out = act(nets, batch, noise, hp)
        found = of_discrete_values(out["q_value"].unsqueeze(0), out["act"], batch)
        return found | of_imitator(out["imitation_logits"], batch) if "imitation_logits" in out else found

    return diagnose


def of_critics(act: Act, critics: Sequence[str]) -> Diagnose:
    """Diagnose the critics of continuous actions, each a network of that name; one network may hold several."""

    def diagnose(nets: Nets, batch: Tensors, noise: Tensors, hp: Tensors) -> dict[str, Tensor]:
        act_BA = act(nets, batch, noise, hp)["act"]
        logged_NB, policy_NB = (
            torch.cat([nets[name](batch["obs"], each_BA).view(-1, len(each_BA)) for name in critics])
            for each_BA in (batch["act"], act_BA)
        )
        return of_values(logged_NB, policy_NB, batch)

    return diagnose
