"""Diagonal Gaussians, and squashed ones: tanh of a Gaussian.

Shape suffix: A dimensions of an action, behind any others.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor


def kl_to_standard_normal(mean: Tensor, std: Tensor) -> Tensor:
    """KL(N(mean, std^2) || N(0, 1)) of each dimension    (arXiv:1312.6114, appendix B).

    Args:
        mean, std: one shape, std > 0.
    """
    return 0.5 * (mean.square() + std.square() - 1) - std.log()


def log_prob(x_A: Tensor, mean_A: Tensor, log_std_A: Tensor) -> Tensor:
    """log N(x; mean, std^2), summed over the last axis, (*).

    Args:
        x_A, mean_A, log_std_A: (*, A) each.
    """
    scaled_A = (x_A - mean_A) * (-log_std_A).exp()
    return -(0.5 * scaled_A.square() + log_std_A + 0.5 * math.log(2 * math.pi)).sum(-1)


def sample(eps_A: Tensor, mean_A: Tensor, log_std_A: Tensor) -> Tensor:
    """mean + std eps, the sample that noise makes    (arXiv:1312.6114, section 2.4).

    Args:
        eps_A: standard normal noise, (*, A).
        mean_A, log_std_A: of the Gaussian, broadcast to (*, A).
    """
    return mean_A + log_std_A.exp() * eps_A


def squashed_sample(
    eps_A: Tensor, mean_A: Tensor, log_std_A: Tensor, *, max_action: float, slope_eps: float = 0.0
) -> tuple[Tensor, Tensor]:
    """a = m tanh(u) with u = mean + std eps, and its log density    (arXiv:1812.05905, appendix C, eq. 26).

    log pi(a) = log N(u; mean, std^2) - sum log(m (1 - tanh^2 u + slope_eps)); log(1 - tanh^2 u) is taken as
    2 (log 2 - u - softplus(-2 u)), which stays exact where tanh is 1.

    Args:
        eps_A: standard normal noise, (*, A).
        mean_A, log_std_A: of the Gaussian, broadcast to (*, A).
        max_action: m, the largest magnitude of an action, in policy units.
        slope_eps: bounds the density where tanh is 1; published code has 1e-6.

    Returns:
        Actions (*, A), and their log densities (*) in policy units.
    """
    raw_A = sample(eps_A, mean_A, log_std_A)
    softplus_A = F.softplus(-2 * raw_A, threshold=40)  # torch's own threshold of 20 is exact to 2e-9 only
    log_slope_A = 2 * (math.log(2) - raw_A - softplus_A)
    if slope_eps:
        log_slope_A = (log_slope_A.exp() + slope_eps).log()
    log_slope_A = math.log(max_action) + log_slope_A
    return max_action * torch.tanh(raw_A), log_prob(raw_A, mean_A, log_std_A) - log_slope_A.sum(-1)
