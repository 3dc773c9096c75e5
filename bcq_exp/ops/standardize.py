"""Features in units of their own statistics."""

from torch import Tensor


def standardize(x: Tensor, mean: Tensor, scale: Tensor) -> Tensor:
    """(x - mean) / scale    (arXiv:2106.06860, eq. 4, where the scale is the deviation and a small number).

    Args:
        x: features (*, S).
        mean, scale: (S,); the scale is above 0.
    """
    return (x - mean) / scale
