import pytest
import torch
from torch import tensor

from bcq_exp.ops.expectile import expectile_loss


def minimum(values: list[float], expectile: float) -> float:
    """The prediction of least loss, by Newton's method: between two values the loss is a parabola."""
    m = tensor(0.0, dtype=torch.float64, requires_grad=True)
    for _ in range(20):
        loss = expectile_loss(tensor(values, dtype=torch.float64) - m, tensor(expectile, dtype=torch.float64))
        (slope,) = torch.autograd.grad(loss, m, create_graph=True)
        (curvature,) = torch.autograd.grad(slope, m)
        m = (m - slope / curvature).detach().requires_grad_()
    return m.item()


def test_hand_computed() -> None:
    # errors 3, -1: 0.75 * 9 and 0.25 * 1, halved
    assert expectile_loss(tensor([3.0, -1.0]), tensor(0.75)).item() == pytest.approx(3.5)


def test_expectile_at_one_half_is_the_mean() -> None:
    values = [-4.0, 0.5, 1.0, 9.0]
    assert minimum(values, 0.5) == pytest.approx(sum(values) / 4)


@pytest.mark.parametrize("expectile", [0.1, 0.3, 0.7, 0.9])
def test_minimum_weighs_what_lies_above_and_below(expectile: float) -> None:
    """tau E[(x - m)+] = (1 - tau) E[(m - x)+], which defines the expectile."""
    values = [-4.0, 0.5, 1.0, 9.0]
    m = minimum(values, expectile)
    above, below = sum(max(x - m, 0) for x in values), sum(max(m - x, 0) for x in values)
    assert expectile * above == pytest.approx((1 - expectile) * below)


def test_expectile_near_one_approaches_the_largest_value() -> None:
    assert minimum([-4.0, 0.5, 1.0, 9.0], 1 - 1e-6) == pytest.approx(9, abs=1e-3)
