import math

import pytest
import torch
from torch import Tensor, tensor

from bcq_exp.ops.td import mean_of_known, n_step_target, soft_clipped_double_q

REW = tensor([[1.0, 2.0, 4.0], [1.0, 2.0, 0.0], [1.0, 0.0, 0.0]])
NUM_STEPS = tensor([3, 2, 1])
TERMINATED = tensor([False, True, False])


def targets(gamma: float, value: list[float]) -> list[float]:
    y: Tensor = n_step_target(REW, NUM_STEPS, TERMINATED, tensor(value), tensor(gamma))
    return y.tolist()


@pytest.mark.parametrize(
    ("gamma", "expected"),
    [
        (0.5, [1 + 1 + 1 + 10 / 8, 1 + 1, 1 + 30 / 2]),
        (1.0, [1 + 2 + 4 + 10, 1 + 2, 1 + 30]),
        (0.0, [1, 1, 1]),
    ],
)
def test_n_step_target_is_discounted_rewards_and_the_discounted_value(gamma: float, expected: list[float]) -> None:
    assert targets(gamma, [10.0, 20.0, 30.0]) == expected


@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan])
def test_value_behind_a_terminal_state_is_ignored_even_where_it_is_not_finite(value: float) -> None:
    assert targets(0.5, [10.0, value, 30.0]) == targets(0.5, [10.0, 0.0, 30.0])


def test_rows_without_a_known_target_do_not_count() -> None:
    error, none = tensor([1.0, 4.0, 7.0]), torch.zeros(3, dtype=torch.bool)
    assert mean_of_known(error, torch.tensor([True, False, True])) == 4.0
    assert mean_of_known(error, none) == 0.0


@pytest.mark.parametrize(("lmbda", "expected"), [(1.0, [1, 2]), (0.0, [3, 4]), (0.75, [1.5, 2.5])])
def test_soft_clipped_double_q_weighs_the_smaller_value(lmbda: float, expected: list[float]) -> None:
    q1, q2 = tensor([1.0, 4.0]), tensor([3.0, 2.0])
    assert soft_clipped_double_q(q1, q2, tensor(lmbda)).tolist() == expected
    torch.testing.assert_close(soft_clipped_double_q(q2, q1, tensor(lmbda)), tensor(expected), check_dtype=False)
