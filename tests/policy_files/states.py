"""States in which files and policies are compared."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from algorithms import tiny
from bcq_exp.policies import Policy
from bcq_exp.policy_files.agreement import Rows


def states(num_rows: int = 1000, *, num_actions: int | None = None) -> Rows:
    """Observations of `tiny`, with masks of that many actions."""
    rng = np.random.default_rng(0)
    obs = rng.normal(size=(num_rows, tiny.OBS_DIM)).astype(np.float32)
    if num_actions is None:
        return Rows(obs, None)
    mask = rng.random((num_rows, num_actions)) < 0.5
    mask[:, 2] = True
    return Rows(obs, mask)


def own_actions(policy: Policy, rows: Rows) -> tuple[NDArray[Any], list[Any]]:
    """The policy's actions, and a file's inputs for the same ones."""
    policy.seed_acting(3)
    expected = policy.compute_action(rows.obs, mask=rows.mask)
    policy.seed_acting(3)
    noise = [value.numpy() for value in policy.draw(len(rows.obs)).values()]
    return expected, [rows.obs, *([] if rows.mask is None else [rows.mask]), *noise]
