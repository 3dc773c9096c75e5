"""Datasets that are looked at piece by piece, whatever they are: arrays, mapped files, stacks of frames."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

ROWS = 1024  # at once; some policies compare a hundred sampled actions for each


def piecewise(call: Callable[..., Tensor], *columns: Any) -> Tensor:
    """What a function makes of a dataset's columns, (N, ...); its pieces follow one another.

    Args:
        call: takes the same rows of each column, and None for a column that is None.
        columns: of N rows each, or None; the first is there.
    """
    pieces = [slice(start, start + ROWS) for start in range(0, len(columns[0]), ROWS)]
    return torch.cat([call(*(None if column is None else column[piece] for column in columns)) for piece in pieces])
