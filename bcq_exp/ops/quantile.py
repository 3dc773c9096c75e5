"""Quantile regression.

Shape suffixes: N quantiles, M samples of the target, B batch.
"""

import torch
from torch import Tensor


def quantile_huber_loss(theta_NB: Tensor, y_MB: Tensor, kappa: Tensor) -> Tensor:
    """sum_i mean_j |tau_i - 1(u_ij < 0)| L_kappa(u_ij), u_ij = y_j - theta_i    (arXiv:1710.10044, eqs. 9, 10).

    L_kappa is the Huber loss, u^2 / 2 up to kappa and kappa (|u| - kappa / 2) beyond, and tau_i = (2 i - 1) / (2 N)
    are the midpoints (lemma 2). As in the paper the weight is not divided by kappa.

    Args:
        theta_NB: predicted quantiles (N, B).
        y_MB: samples of the target, (M, B).
        kappa: 0-d, above 0: errors beyond it count linearly.

    Returns:
        The mean over the batch, 0-d. For a single quantile it is half of the mean Huber loss.
    """
    num_quantiles = theta_NB.shape[0]
    tau_N = (torch.arange(num_quantiles, device=theta_NB.device, dtype=theta_NB.dtype) + 0.5) / num_quantiles
    error_NMB = y_MB - theta_NB.unsqueeze(1)
    size_NMB = error_NMB.abs()
    bounded_NMB = size_NMB.minimum(kappa)
    huber_NMB = bounded_NMB * (size_NMB - bounded_NMB / 2)
    weight_NMB = torch.where(error_NMB < 0, 1 - tau_N[:, None, None], tau_N[:, None, None])
    return (weight_NMB * huber_NMB).mean(1).sum(0).mean()
