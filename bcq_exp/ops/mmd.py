"""Maximum mean discrepancy (Gretton et al. 2012, A kernel two-sample test, eq. 5).

Shape suffixes: B batch, N and M samples of a state, A dimensions of an action.
"""

from collections.abc import Callable

from torch import Tensor

KERNELS: dict[str, Callable[[Tensor], Tensor]] = {
    "laplacian": lambda difference: difference.abs().sum(-1),
    "gaussian": lambda difference: difference.square().sum(-1),
}
"""Distances of differences (*, A) by the kernel that is made of them, exp(-distance / (2 sigma))."""


def squared_mmd(x_BNA: Tensor, y_BMA: Tensor, sigma: Tensor, kernel: str) -> Tensor:
    """mean k(x, x') - 2 mean k(x, y) + mean k(y, y') over all pairs of samples, (B,)    (as in arXiv:1906.00949).

    It is zero where both have the same samples; rounding may leave it just below zero.

    Args:
        x_BNA, y_BMA: samples of both distributions for each state.
        sigma: of the kernel, 0-d, above 0.
        kernel: a key of `KERNELS`.
    """

    def similarity(one: Tensor, other: Tensor) -> Tensor:
        distance = KERNELS[kernel](one.unsqueeze(2) - other.unsqueeze(1))
        return (-distance / (2 * sigma)).exp().mean((1, 2))

    return similarity(x_BNA, x_BNA) - 2 * similarity(x_BNA, y_BMA) + similarity(y_BMA, y_BMA)
