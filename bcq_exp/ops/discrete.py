"""Choices among discrete actions.

Shape suffixes: B batch, A number of actions, N candidates for a continuous one. `available_BA` is a bool mask of the
actions available in a state; None: all are.
"""

import torch
from torch import Tensor


def among_available(value_BA: Tensor, available_BA: Tensor | None) -> Tensor:
    """The values (*, B, A) with -inf in place of those of unavailable actions.

    Exponentials and maxima then leave these actions out, and so do their gradients.
    """
    return value_BA if available_BA is None else value_BA.masked_fill(~available_BA, -torch.inf)


def likely_actions(logits_BA: Tensor, threshold: Tensor, available_BA: Tensor | None) -> Tensor:
    """Actions whose imitation probability, relative to the largest, reaches the threshold, as a bool mask (B, A).

    G(a|s) / max_b G(b|s) >= threshold    (arXiv:1910.01708; the paper's > would drop ties at 1)

    Args:
        logits_BA: raw outputs of the imitator, (B, A).
        threshold: 0-d, in [0, 1]: 0 keeps every available action, 1 only the most probable one.
    """
    logits_BA = among_available(logits_BA, available_BA)
    ratio_BA = (logits_BA - logits_BA.amax(-1, keepdim=True)).exp()
    likely_BA = ratio_BA >= threshold
    return likely_BA if available_BA is None else likely_BA & available_BA


def masked_argmax(value_BA: Tensor, mask_BA: Tensor | None) -> Tensor:
    """Index (B,) of the largest value among the actions of the mask; 0 where a row's mask is empty."""
    return among_available(value_BA, mask_BA).argmax(-1)


def take_action(value_BA: Tensor, act_B: Tensor) -> Tensor:
    """The value (B,) of one action a row, or several values (*, B) out of (*, B, A)."""
    return value_BA.gather(-1, act_B.expand(value_BA.shape[:-1]).unsqueeze(-1)).squeeze(-1)


def take_candidate(act_BNA: Tensor, index_B: Tensor) -> Tensor:
    """The continuous action (B, A) of one candidate a row out of N.

    By `gather`, since torch.export (2.13) takes the number of rows for a constant in `take_along_dim`.
    """
    return act_BNA.gather(1, index_B[:, None, None].expand(-1, 1, act_BNA.shape[-1])).squeeze(1)


def action_probabilities(logits_BA: Tensor, available_BA: Tensor | None) -> Tensor:
    """Softmax among the available actions, (B, A): 0 for the others, NaN where a row's mask is empty."""
    return among_available(logits_BA, available_BA).softmax(-1)


def expected_value(probs_BA: Tensor, value_BA: Tensor) -> Tensor:
    """sum_a p(a) v(a), (B,); values of actions of probability 0 are ignored, non-finite ones included."""
    return (probs_BA * value_BA.masked_fill(probs_BA == 0, 0)).sum(-1)


def draw_action(probs_BA: Tensor, uniform_B: Tensor) -> Tensor:
    """Actions (B,) of the given probabilities: the first whose cumulated probability exceeds the random number.

    Args:
        probs_BA: (B, A); an action of probability 0 is never drawn.
        uniform_B: random numbers in [0, 1).
    """
    cumulated_BA = probs_BA.cumsum(-1)
    return (cumulated_BA <= uniform_B.unsqueeze(-1) * cumulated_BA[..., -1:]).sum(-1)


def epsilon_greedy(
    act_B: Tensor, epsilon: Tensor, uniform_B: Tensor, uniform_BA: Tensor, available_BA: Tensor | None
) -> Tensor:
    """With probability epsilon an available action, uniformly; else the given one.

    Args:
        act_B: greedy actions (B,).
        epsilon: 0-d, in [0, 1].
        uniform_B, uniform_BA: random numbers in [0, 1): one decides whether to explore, the others where to.
    """
    return torch.where(uniform_B < epsilon, masked_argmax(uniform_BA, available_BA), act_B)
