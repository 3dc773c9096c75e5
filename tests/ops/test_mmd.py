import math

import numpy as np
import pytest
import torch

from bcq_exp.ops.mmd import KERNELS, squared_mmd

SIGMA = torch.tensor(2.0, dtype=torch.float64)


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("kernel", KERNELS)
def test_equal_samples_have_none_in_whatever_order(kernel: str) -> None:
    x = draw(3, 6, 2)
    assert squared_mmd(x, x.flip(1), SIGMA, kernel).abs().max() < 1e-15


@pytest.mark.parametrize(("kernel", "exponent"), [("laplacian", 3 / 4), ("gaussian", 5 / 4)])
def test_one_sample_each_by_hand(kernel: str, exponent: float) -> None:
    """Samples 1 and 2 apart in their dimensions: |d| = 3 and d^2 = 5; divided by 2 sigma."""
    found = squared_mmd(torch.zeros(1, 1, 2), torch.tensor([[[1.0, -2.0]]]), torch.tensor(2.0), kernel)
    assert found.item() == pytest.approx(2 - 2 * math.exp(-exponent))


@pytest.mark.parametrize(("kernel", "power"), [("laplacian", 1), ("gaussian", 2)])
def test_it_is_the_mean_over_all_pairs_of_each_state(kernel: str, power: int) -> None:
    x, y = draw(3, 4, 2), draw(3, 5, 2, seed=1)

    def mean(ones: torch.Tensor, others: torch.Tensor) -> float:
        pairs = [(one - other).numpy() for one in ones for other in others]
        return float(np.mean([np.exp(-sum(abs(pair) ** power) / 4) for pair in pairs]))

    expected = [mean(a, a) - 2 * mean(a, b) + mean(b, b) for a, b in zip(x, y, strict=True)]
    assert squared_mmd(x, y, SIGMA, kernel).tolist() == pytest.approx(expected, abs=1e-14)
    assert min(expected) > 0


@pytest.mark.parametrize("kernel", KERNELS)
def test_it_grows_as_the_distributions_part(kernel: str) -> None:
    x, y = draw(1, 200, 1), draw(1, 200, 1, seed=1)
    apart = [float(squared_mmd(x, y + shift, SIGMA, kernel)) for shift in (0.0, 0.5, 1.0, 3.0)]
    assert apart == sorted(apart)
    assert apart[-1] > 10 * apart[0]
