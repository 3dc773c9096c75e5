"""Diagonal Gaussians."""

from torch import Tensor


def kl_to_standard_normal(mean: Tensor, std: Tensor) -> Tensor:
    """KL(N(mean, std^2) || N(0, 1)) of each dimension    (arXiv:1312.6114, appendix B).

    Args:
        mean, std: one shape, std > 0.
    """
    return 0.5 * (mean.square() + std.square() - 1) - std.log()
