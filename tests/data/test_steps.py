import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bcq_exp.data import Transitions

KEYS = {"obs": "states"}


def test_the_row_before_a_dropped_one_keeps_its_next_action() -> None:
    """Episodes of three rows with a terminal, and of three that the recording leaves; row 5 is dropped."""
    columns = {
        "obs": np.arange(6, dtype=np.float32)[:, None],
        "act": 10 + np.arange(6, dtype=np.float32)[:, None],
        "rew": np.zeros(6),
        "terminated": np.array([0, 0, 1, 0, 0, 0]),
        "ends": np.array([0, 0, 1, 0, 0, 1]),
    }
    found = Transitions.from_columns(columns, "file")
    assert found.rows.tolist() == [0, 1, 2, 3, 4]
    assert found.truncated.tolist() == [False, False, False, False, True]
    assert found.act_next[:, 0].tolist() == [11, 12, 12, 14, 15]
    assert Transitions.from_columns({**columns, "act": np.arange(6)}, "file").act_next is None, "no loss reads it"
    assert Transitions.from_columns({**columns, "obs_next": columns["obs"] + 1}, "file").act_next is None


@given(st.lists(st.tuples(st.integers(1, 4), st.booleans()), min_size=1, max_size=8))
def test_next_observations_never_cross_an_episode(episodes: list[tuple[int, bool]]) -> None:
    """Observations count the steps, so that a transition's are neighbours in one episode."""
    lengths = [length for length, _ in episodes]
    num = sum(lengths)
    last = np.cumsum(lengths) - 1
    ends, terminated = np.zeros(num, bool), np.zeros(num, bool)
    ends[last] = True
    terminated[last] = [has_terminated for _, has_terminated in episodes]
    columns = {"obs": np.arange(num, dtype=np.float32)[:, None], "act": np.arange(num), "rew": np.arange(num) + 0.5}
    expected, start = [], 0
    for length, has_terminated in episodes:
        for step in range(start, start + length - (not has_terminated)):
            is_last = step == start + length - 1
            expected.append(
                (step, step if is_last else step + 1, is_last, not has_terminated and step == start + length - 2)
            )
        start += length
    if not expected:
        with pytest.raises(ValueError, match="file: states has no row 1 of any episode"):
            Transitions.from_typed({**columns, "terminated": terminated, "ends": ends}, "file", KEYS)
        return
    found = Transitions.from_typed({**columns, "terminated": terminated, "ends": ends}, "file", KEYS)
    seen = zip(found.obs[:, 0], found.obs_next[:, 0], found.terminated, found.truncated, strict=True)
    assert [tuple(row) for row in seen] == expected
    np.testing.assert_array_equal(found.rows, found.act)
    parts = np.split(columns["rew"], last[:-1] + 1)
    np.testing.assert_allclose(found.episode_returns, [part.sum() for part in parts])
