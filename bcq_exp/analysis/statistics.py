"""Statistics over seeds."""

from collections.abc import Sequence

import numpy as np
from scipy import stats


def interval(values: Sequence[float]) -> tuple[float, float, float]:
    """Mean, standard deviation (over n - 1) and half the width of the mean's 95 % t interval; nan for one value."""
    mean, num = float(np.mean(values)), len(values)
    if num == 1:
        return mean, float("nan"), float("nan")
    std = float(np.std(values, ddof=1))
    return mean, std, float(stats.t.ppf(0.975, num - 1)) * std / num**0.5
