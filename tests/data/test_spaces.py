from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from bcq_exp.data import Transitions, check_against

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


def read(columns: Columns, **changed: Any) -> Transitions:
    columns = columns | {key: np.asarray(column) for key, column in changed.items()}
    return Transitions.from_columns(columns, "data.h5")


PLANE = gym.spaces.Box(-10, 20, (2,))
COIN = gym.spaces.Discrete(2)
STICK = gym.spaces.Box(np.array([-1, 0], np.float32), np.array([1, 2], np.float32))


def test_fitting_discrete_actions_pass(columns: Columns) -> None:
    found = read(columns)
    assert check_against(found, PLANE, COIN, batch_size=5) is found


def test_discrete_start_shifts_the_allowed_actions(columns: Columns) -> None:
    space = gym.spaces.Discrete(2, start=-3)
    found = check_against(read(columns, act=columns["act"] - 3), PLANE, space, batch_size=1)
    np.testing.assert_array_equal(found.act, [-3, -2, -2, -3, -2])
    with pytest.raises(ValueError, match=r"data\.h5: act row 0 is 0; allowed: -3 to -2"):
        check_against(read(columns), PLANE, space, batch_size=1)


def test_rounding_beyond_a_bound_is_clipped(columns: Columns) -> None:
    act = np.zeros((5, 2), np.float32)
    act[3] = 1 + 0.9e-5, -1.9e-5
    found = check_against(read(columns, act=act), PLANE, STICK, batch_size=1)
    np.testing.assert_array_equal(found.act[3], np.array([1, 0], np.float32))
    assert STICK.contains(found.act[3])


def test_bound_without_limit_allows_any_action(columns: Columns) -> None:
    space = gym.spaces.Box(np.array([-np.inf, 0], np.float32), np.array([0, np.inf], np.float32))
    act = np.tile(np.array([-1e30, 1e30], np.float32), (5, 1))
    np.testing.assert_array_equal(check_against(read(columns, act=act), PLANE, space, 1).act, act)
    with pytest.raises(ValueError, match="act row 0 is -1"):
        check_against(read(columns, act=-np.ones((5, 2))), PLANE, space, 1)


@pytest.mark.parametrize(
    ("change", "spaces", "parts"),
    [
        ({}, (gym.spaces.Box(-10, 20, (3,)), COIN), ["obs has shape (2,)", "(3,)"]),
        ({}, (gym.spaces.Discrete(2), COIN), ["obs has shape (2,)", "()"]),
        ({}, (PLANE, STICK), ["act is discrete, shape (5,)", "Box"]),
        ({"act": np.zeros((5, 2))}, (PLANE, COIN), ["act is continuous, shape (5, 2)", "Discrete(2)"]),
        ({"act": np.zeros((5, 3))}, (PLANE, STICK), ["act is continuous, shape (5, 3)"]),
        ({"act": [0, 1, 1, 2, -1]}, (PLANE, COIN), ["act row 3 is 2", "0 to 1", "in all: 2"]),
        ({"act": [[0, 0], [1.1, 0], [0, 3], [0, 0], [0, 0]]}, (PLANE, STICK), ["act row 1 is 1.1", "[-1.  0.]"]),
        ({}, (PLANE, gym.spaces.MultiDiscrete([2, 2])), ["MultiDiscrete", "not supported"]),
        ({"mask": np.ones((5, 3)), "mask_next": np.ones((5, 3))}, (PLANE, COIN), ["mask has 3 actions"]),
        ({"mask": np.eye(5, 2), "mask_next": np.ones((5, 2))}, (PLANE, COIN), ["mask row 2 is 0", "available"]),
        ({"mask": np.ones((5, 2)), "mask_next": np.eye(5, 2)}, (PLANE, COIN), ["mask_next row 3 is 0", "available"]),
    ],
)
def test_misfit_names_source_and_column(
    columns: Columns, change: Columns, spaces: tuple[Any, Any], parts: list[str]
) -> None:
    with pytest.raises(ValueError, match=r"^data\.h5: ") as error:
        check_against(read(columns, **change), *spaces, batch_size=1)
    assert all(part in str(error.value) for part in parts), str(error.value)


def test_terminal_state_needs_no_available_action(columns: Columns) -> None:
    mask_next = np.ones((5, 2))
    mask_next[2] = 0
    check_against(read(columns, mask=np.ones((5, 2)), mask_next=mask_next), PLANE, COIN, batch_size=1)


def test_dataset_shorter_than_a_batch(columns: Columns) -> None:
    with pytest.raises(ValueError, match=r"data\.h5: rew has 5 transitions, fewer than batch_size=6; allowed: 1 to 5"):
        check_against(read(columns), PLANE, COIN, batch_size=6)
