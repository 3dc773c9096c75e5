import numpy as np
import pytest

from bcq_exp.data.formats.tables.ordering import check_last, ordered, rows_apart

KEYS = {"episode": "patient", "time": "hour"}
IDS = ["ann", "bo"]


def test_rows_that_stand_in_order_stay_there() -> None:
    order = ordered(np.array([0, 0, 1, 1]), None, IDS, "log", KEYS)
    assert not order.is_new
    np.testing.assert_array_equal(order.rows, [0, 1, 2, 3])
    np.testing.assert_array_equal(order.is_last_N, [0, 1, 0, 1])


def test_times_order_the_rows_of_an_episode() -> None:
    """Episodes come in the order of their first rows, and times of different episodes are not compared."""
    order = ordered(np.array([0, 1, 0, 1]), np.array([3.0, 2, 1, 0.5]), IDS, "log", KEYS)
    assert order.is_new
    np.testing.assert_array_equal(order.rows, [2, 0, 3, 1])
    np.testing.assert_array_equal(order.episode_N, [0, 0, 1, 1])
    np.testing.assert_array_equal(order.is_last_N, [0, 1, 0, 1])


def test_rows_behind_those_of_others_are_found() -> None:
    np.testing.assert_array_equal(rows_apart(np.array([0, 0, 1, 2])), [])
    np.testing.assert_array_equal(rows_apart(np.array([0, 1, 1, 0, 0, 2, 1])), [3, 6])


def test_an_id_that_returns_is_refused_without_times_and_reported_with(caplog: pytest.LogCaptureFixture) -> None:
    episode = np.array([0, 1, 0, 1, 0])
    with pytest.raises(ValueError, match=r"log: patient ann returns in row 2, .*episodes in all: 2"):
        ordered(episode, None, IDS, "log", KEYS)
    ordered(episode, np.arange(5.0), IDS, "log", KEYS)
    assert "log: rows of 2 episodes stand apart; hour puts them in order" in caplog.text


def test_a_flag_inside_an_episode_is_named_by_its_row_in_the_file() -> None:
    order = ordered(np.array([0, 1, 0]), np.array([2.0, 0, 1]), IDS, "log", KEYS)
    check_last(np.array([False, True, True]), order, IDS, "log", "died")
    with pytest.raises(ValueError, match="log: died is 1 in row 2, but episode ann goes on in row 0"):
        check_last(np.array([True, True, True]), order, IDS, "log", "died")
