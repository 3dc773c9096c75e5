import itertools

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import tensor

from bcq_exp.ops.quantile import quantile_huber_loss


def test_hand_computed() -> None:
    # tau 1/4 and 3/4, kappa 1; errors of theta 0: 2 and -0.5; of theta 1: 1 and -1.5
    # first: (1/4 * 1.5 + 3/4 * 0.125) / 2, second: (3/4 * 0.5 + 1/4 * 1) / 2
    loss = quantile_huber_loss(tensor([[0.0], [1.0]]), tensor([[2.0], [-0.5]]), tensor(1.0))
    assert loss.item() == pytest.approx(0.46875 / 2 + 0.625 / 2)


@pytest.mark.parametrize("kappa", [0.3, 1.0, 2.5])
def test_one_quantile_is_half_of_the_huber_loss(kappa: float) -> None:
    theta_B, y_B = 3 * torch.randn(100, dtype=torch.float64), 3 * torch.randn(100, dtype=torch.float64)
    loss = quantile_huber_loss(theta_B[None], y_B[None], tensor(kappa, dtype=torch.float64))
    assert loss.item() == pytest.approx(F.huber_loss(theta_B, y_B, delta=kappa).item() / 2)


def test_a_batch_is_the_mean_of_its_rows() -> None:
    theta_NB, y_MB = torch.randn(4, 5), torch.randn(3, 5)
    rows = [quantile_huber_loss(theta_NB[:, [row]], y_MB[:, [row]], tensor(1.0)).item() for row in range(5)]
    assert quantile_huber_loss(theta_NB, y_MB, tensor(1.0)).item() == pytest.approx(np.mean(rows))


def test_with_a_small_kappa_the_minimum_is_the_quantile_at_each_midpoint() -> None:
    """Midpoints 1/6, 1/2 and 5/6 of five values lie within the steps at the first, the third and the fifth."""
    values = [-3.0, -1.0, 0.5, 2.0, 7.0]

    def loss(theta: tuple[float, ...]) -> float:
        return quantile_huber_loss(tensor(theta)[:, None], tensor(values)[:, None], tensor(0.01)).item()

    assert min(itertools.product(values, repeat=3), key=loss) == (-3.0, 0.5, 7.0)


def test_with_a_large_kappa_and_one_quantile_the_minimum_is_the_mean() -> None:
    values = [-3.0, -1.0, 0.5, 2.0, 7.0]
    y_MB = tensor(values)[:, None]
    theta_NB = y_MB.mean(0, keepdim=True).requires_grad_()
    quantile_huber_loss(theta_NB, y_MB, tensor(100.0)).backward()
    assert theta_NB.grad is not None
    assert theta_NB.grad.item() == pytest.approx(0, abs=1e-6)
