import math

import numpy as np
import pytest
import torch
from torch import tensor
from torch.distributions import Normal, kl_divergence

from bcq_exp.ops.gaussian import kl_to_standard_normal, log_prob, squashed_sample


@pytest.mark.parametrize(("mean", "std"), [(0.0, 1.0), (0.7, 0.3), (-1.5, 2.0)])
def test_kl_is_the_integral_that_defines_it(mean: float, std: float) -> None:
    x = np.linspace(mean - 12 * std, mean + 12 * std, 100_001)
    log_p = -(((x - mean) / std) ** 2) / 2 - math.log(std)  # up to the constant that both share
    integrand = np.exp(log_p) / math.sqrt(2 * math.pi) * (log_p + x**2 / 2)
    kl = kl_to_standard_normal(tensor(mean, dtype=torch.float64), tensor(std, dtype=torch.float64))
    assert float(kl) == pytest.approx(np.trapezoid(integrand, x), abs=1e-9)


def test_kl_of_each_dimension_over_the_range_that_an_encoder_may_return() -> None:
    mean, log_std = torch.meshgrid(torch.linspace(-9, 9, 7), torch.linspace(-4, 8, 9), indexing="ij")
    std = log_std.exp()
    expected = kl_divergence(Normal(mean, std), Normal(torch.zeros_like(mean), torch.ones_like(std)))
    torch.testing.assert_close(kl_to_standard_normal(mean, std), expected)


def test_log_density_of_a_gaussian_is_summed_over_the_dimensions() -> None:
    x, mean, log_std = torch.randn(3, 5, 2, generator=torch.Generator().manual_seed(0)).unbind()
    expected = Normal(mean, log_std.exp()).log_prob(x).sum(-1)
    torch.testing.assert_close(log_prob(x, mean, log_std), expected)


@pytest.mark.parametrize(("mean", "log_std"), [(0.0, 0.0), (1.2, -1.0), (-0.4, 0.7)])
@pytest.mark.parametrize("max_action", [1.0, 3.0])
def test_density_of_squashed_samples_is_that_of_their_quantiles(mean: float, log_std: float, max_action: float) -> None:
    """p(a) da = p(eps) d eps: between neighbouring quantiles of the noise lies what the density says."""
    eps = torch.linspace(-4, 4, 20_001, dtype=torch.float64)[:, None]
    act, log_density = squashed_sample(eps, tensor(mean).double(), tensor(log_std).double(), max_action=max_action)
    assert act.abs().max() < max_action
    weight = (-eps[:, 0].square() / 2).exp() / math.sqrt(2 * math.pi) * 8 / 20_000
    widths = (act[2:, 0] - act[:-2, 0]) / 2
    torch.testing.assert_close(log_density.exp()[1:-1] * widths, weight[1:-1], rtol=1e-5, atol=0)


def test_density_stays_finite_where_tanh_is_one() -> None:
    mean = tensor([[30.0], [-30.0]], requires_grad=True)
    act, log_density = squashed_sample(torch.zeros(2, 1), mean, torch.zeros(2, 1), max_action=1.0)
    assert act.flatten().tolist() == [1.0, -1.0]
    assert log_density.tolist() == pytest.approx([60 - math.log(4) - math.log(2 * math.pi) / 2] * 2)
    log_density.sum().backward()
    assert mean.grad is not None
    assert mean.grad.flatten().tolist() == pytest.approx([2.0, -2.0])


def test_what_is_added_to_the_slope_bounds_the_density_where_tanh_is_one() -> None:
    """By hand: u = 0.5 + e^-1 0.3 = 0.6103638, tanh u = 0.5443832, N(u) = 1.0367196; da / du = 3 (1 - tanh^2 u)."""
    act, log_density = squashed_sample(
        tensor([[0.3]]), tensor([[0.5]]), tensor([[-1.0]]), max_action=3.0, slope_eps=0.25
    )
    assert act.item() == pytest.approx(3 * 0.5443832, abs=1e-6)
    assert log_density.item() == pytest.approx(math.log(1.0367196 / (3 * (1 - 0.5443832**2 + 0.25))), abs=1e-6)
    mean = tensor([[30.0], [-30.0]], requires_grad=True)
    _, bounded = squashed_sample(torch.zeros(2, 1), mean, torch.zeros(2, 1), max_action=1.0, slope_eps=1e-6)
    assert bounded.tolist() == pytest.approx([-math.log(1e-6) - math.log(2 * math.pi) / 2] * 2)
    bounded.sum().backward()
    assert mean.grad is not None
    assert mean.grad.abs().max() < 1e-15
