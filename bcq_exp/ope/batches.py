"""Functions of a whole dataset, computed in batches of rows. Columns are arrays, mapped files or stacks of frames."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

NUM_ROWS = 1024  # of a batch; some policies compare a hundred sampled actions in each row


def map_batches(function: Callable[..., Tensor], *columns: Any) -> Tensor:
    """Apply a function to a dataset's columns, batch by batch, and concatenate what it returns, (N, ...).

    Args:
        function: takes the same rows of each column, and None for a column that is None.
        columns: of N rows each, or None; the first is not None.
    """
    batches = [slice(start, start + NUM_ROWS) for start in range(0, len(columns[0]), NUM_ROWS)]
    return torch.cat([function(*(None if column is None else column[rows] for column in columns)) for rows in batches])
