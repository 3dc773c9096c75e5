"""Expectile regression.

Shape suffix: B batch.
"""

import torch
from torch import Tensor


def expectile_loss(error_B: Tensor, expectile: Tensor) -> Tensor:
    """mean |tau - 1(error < 0)| error^2, least where the tau-expectile is    (arXiv:2110.06169).

    Args:
        error_B: observed minus predicted values, (B,).
        expectile: tau, 0-d, in (0, 1): 0.5 is half the squared error, whose minimum is the mean; towards 1 the minimum
            approaches the largest value.
    """
    weight_B = torch.where(error_B < 0, 1 - expectile, expectile)
    return (weight_B * error_B.square()).mean()
