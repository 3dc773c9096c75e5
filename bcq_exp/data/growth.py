"""Datasets that grow while they are learned from."""

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Growth:
    """A dataset that is recorded while it is learned from: the concurrent setting of arXiv:1812.02900, section 3.

    The recording does not depend on the learner, so a finished one is revealed at the pace of its recording.

    Args:
        start: rows that are there before the first update, 1 or more.
        rate: rows that each update adds, above 0.
    """

    start: int
    rate: float

    def num_rows(self, update: int) -> int:
        """Rows that an update, counted from 0, may draw from."""
        return self.start + math.floor(self.rate * update)
