import math

import numpy as np
import pytest
import torch
from torch import tensor
from torch.distributions import Normal, kl_divergence

from bcq_exp.ops.gaussian import kl_to_standard_normal


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
