from typing import Any

import numpy as np
import pytest

Columns = dict[str, Any]


@pytest.fixture
def columns() -> Columns:
    """Two episodes, of three and two rows."""
    return {
        "obs": np.arange(10, dtype=np.float32).reshape(5, 2),
        "act": np.array([0, 1, 1, 0, 1]),
        "rew": np.array([1, 2, 4, 8, 16], np.float32),
        "terminated": np.array([0, 0, 1, 0, 0], np.bool_),
        "truncated": np.array([0, 0, 0, 0, 1], np.bool_),
        "obs_next": np.arange(2, 12, dtype=np.float32).reshape(5, 2),
    }
