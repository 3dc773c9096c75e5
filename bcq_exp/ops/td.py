"""Temporal-difference targets.

Shape suffixes: B batch, K steps of the reward window.
"""

import torch
from torch import Tensor


def n_step_target(rew_BK: Tensor, num_steps_B: Tensor, terminated_B: Tensor, value_B: Tensor, gamma: Tensor) -> Tensor:
    """The n-step target, (B,) or (*, B): discounted rewards of a window, and the value of the state after it.

    y = sum_k gamma^k r_k + gamma^m (1 - terminated) V(s_m)    (Sutton and Barto 2018, eq. 12.1)

    Args:
        rew_BK: rewards (B, K), zero where the episode ended before step k.
        num_steps_B: m, integers (B,) in [1, K]: the rewards that are in the window.
        terminated_B: bool (B,), whether s_m is terminal. A time limit is not terminal: V(s_m) counts.
        value_B: V(s_m), (B,), or (*, B) for several values of each state; terminated rows are ignored, non-finite
            values included.
        gamma: discount, 0-d, in [0, 1].
    """
    discount_K = gamma ** torch.arange(rew_BK.shape[-1], device=rew_BK.device)
    bootstrap_B = torch.where(terminated_B, torch.zeros_like(value_B), value_B)
    return (rew_BK * discount_K).sum(-1) + gamma**num_steps_B * bootstrap_B


def mean_of_known(error_B: Tensor, is_known_B: Tensor) -> Tensor:
    """The mean error of the rows whose target is known, 0-d; 0 where none is.

    Args:
        error_B: of each row, (B,).
        is_known_B: bool, (B,).
    """
    return (is_known_B * error_B).sum() / is_known_B.sum().clamp(min=1)


def soft_clipped_double_q(q1: Tensor, q2: Tensor, lmbda: Tensor) -> Tensor:
    """lmbda min(q1, q2) + (1 - lmbda) max(q1, q2)    (arXiv:1812.02900, section 4.2).

    Args:
        q1, q2: values of the twin critics, one shape.
        lmbda: weight of the smaller value, 0-d, in [0, 1].
    """
    return lmbda * torch.minimum(q1, q2) + (1 - lmbda) * torch.maximum(q1, q2)
