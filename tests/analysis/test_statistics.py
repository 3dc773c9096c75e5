import math

import pytest

from bcq_exp.analysis.statistics import interval


def test_interval_by_hand():
    # Mean 5, squared deviations 4 + 0 + 4, so the deviation is 2; t(0.975, 2) = 4.302653.
    assert interval([3, 5, 7]) == pytest.approx((5, 2, 4.302653 * 2 / math.sqrt(3)), rel=1e-6)
    assert interval([4])[0] == 4
    assert math.isnan(interval([4])[2])
