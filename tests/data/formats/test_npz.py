import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from bcq_exp.data import Transitions, read_transitions

FIXTURE = [HealthCheck.function_scoped_fixture]


def d4rl(**changed: Any) -> dict[str, Any]:
    """Three episodes: terminated (rows 0 to 2), time limit (3 to 5), cut by the end of the file (6, 7)."""
    columns = {
        "observations": np.arange(16, dtype=np.float32).reshape(8, 2),
        "next_observations": np.arange(2, 18, dtype=np.float32).reshape(8, 2) + np.array([[0, 0.5]], np.float32),
        "actions": np.arange(8, dtype=np.float32)[:, None] / 8,
        "rewards": 2.0 ** np.arange(8),
        "terminals": np.array([0, 0, 1, 0, 0, 0, 0, 0], bool),
        "timeouts": np.array([0, 0, 0, 0, 0, 1, 0, 0], bool),
    }
    return {key: value for key, value in (columns | changed).items() if value is not None}


def write(path: Path, columns: dict[str, Any]) -> Path:
    np.savez_compressed(path, **columns)
    return path


def read(tmp_path: Path, **changed: Any) -> Transitions:
    return read_transitions(write(tmp_path / "data.npz", d4rl(**changed)))


def test_rows_with_next_observations(tmp_path: Path) -> None:
    found = read(tmp_path)
    assert len(found) == 8
    np.testing.assert_array_equal(found.obs_next[:, 1], np.arange(3, 19, 2) + 0.5)
    np.testing.assert_array_equal(found.terminated, [0, 0, 1, 0, 0, 0, 0, 0])
    np.testing.assert_array_equal(found.truncated, [0, 0, 0, 0, 0, 1, 0, 1])
    np.testing.assert_array_equal(found.episode_returns, [7, 56, 192])
    assert (found.act.dtype, found.act.shape) == (np.float32, (8, 1))


def test_rows_without_next_observations(tmp_path: Path) -> None:
    found = read(tmp_path, next_observations=None)
    np.testing.assert_array_equal(found.rows, [0, 1, 2, 3, 4, 6])
    np.testing.assert_array_equal(found.obs[:, 0], [0, 2, 4, 6, 8, 12])
    np.testing.assert_array_equal(found.obs_next[:, 0], [2, 4, 4, 8, 10, 14])
    np.testing.assert_array_equal(found.terminated, [0, 0, 1, 0, 0, 0])
    np.testing.assert_array_equal(found.truncated, [0, 0, 0, 0, 1, 1])
    np.testing.assert_array_equal(found.episode_returns, [7, 56, 192])


def test_episodes_without_timeouts_end_where_the_observations_do_not_go_on(tmp_path: Path) -> None:
    obs = d4rl()["observations"]
    obs_next = np.roll(obs, -1, axis=0)
    obs_next[4, 1] += 1
    found = read(tmp_path, timeouts=None, next_observations=obs_next)
    np.testing.assert_array_equal(found.truncated, [0, 0, 0, 0, 1, 0, 0, 1])
    np.testing.assert_array_equal(found.terminated, [0, 0, 1, 0, 0, 0, 0, 0])
    np.testing.assert_array_equal(found.episode_returns, [7, 24, 224])


def test_a_row_with_both_flags_is_terminated(tmp_path: Path) -> None:
    both = np.array([0, 0, 1, 0, 0, 0, 0, 0])
    for obs_next in (None, d4rl()["next_observations"]):
        found = read(tmp_path, terminals=both, timeouts=both, next_observations=obs_next)
        assert found.terminated[2]
        assert not found.truncated[2]


def test_own_column_names_give_what_the_own_layout_gives(tmp_path: Path) -> None:
    columns = {
        "obs": np.zeros((3, 2, 2), np.uint8),
        "obs_next": np.ones((3, 2, 2), np.uint8),
        "act": np.array([0, 1, 0]),
        "rew": np.arange(3.0),
        "terminated": np.array([0, 1, 0]),
        "truncated": np.array([0, 0, 1]),
        "mask": np.ones((3, 2), bool),
        "mask_next": np.eye(3, 2, dtype=bool),
    }
    found = read_transitions(write(tmp_path / "own.npz", columns | {"note": np.array("not a column")}))
    for key, column in columns.items():
        np.testing.assert_array_equal(getattr(found, key), column)
    assert (found.obs.dtype, found.act.dtype) == (np.uint8, np.int64)


@pytest.mark.parametrize(("has_next", "has_timeouts"), [(True, True), (True, False), (False, True)])
@pytest.mark.parametrize("seed", range(5))
def test_rows_as_in_a_slow_loop(tmp_path: Path, has_next: bool, has_timeouts: bool, seed: int) -> None:
    rng, num = np.random.default_rng(seed), 60
    columns = d4rl(
        observations=rng.normal(size=(num, 3)),
        actions=rng.integers(3, size=num),
        rewards=rng.normal(size=num).astype(np.float32),
        terminals=rng.random(num) < 0.1,
        timeouts=rng.random(num) < 0.15 if has_timeouts else None,
        next_observations=None,
    )
    obs = columns["observations"].astype(np.float32)
    if has_next:
        is_reset = rng.random(num) < 0.2
        columns["next_observations"] = np.where(is_reset[:, None], rng.normal(size=(num, 3)), np.roll(obs, -1, axis=0))
    found = read_transitions(write(tmp_path / "data.npz", columns))

    expected: list[tuple[Any, ...]] = []
    for i in range(num):
        is_terminal = bool(columns["terminals"][i])
        if has_timeouts:
            is_end = is_terminal or bool(columns["timeouts"][i])
        else:
            goes_on = i + 1 < num and list(columns["next_observations"][i].astype(np.float32)) == list(obs[i + 1])
            is_end = is_terminal or not goes_on
        is_end = is_end or i == num - 1
        if has_next:
            expected.append((i, columns["next_observations"][i], is_terminal, is_end and not is_terminal))
        elif is_terminal:
            expected.append((i, obs[i], True, False))
        elif not is_end:
            next_is_cut = (i + 1 == num - 1 or bool(columns["timeouts"][i + 1])) and not columns["terminals"][i + 1]
            expected.append((i, obs[i + 1], False, bool(next_is_cut)))
    rows, obs_next, terminated, truncated = zip(*expected, strict=True)
    np.testing.assert_array_equal(found.obs, obs[list(rows)])
    np.testing.assert_array_equal(found.act, columns["actions"][list(rows)])
    np.testing.assert_array_equal(found.rew, columns["rewards"][list(rows)])
    np.testing.assert_array_equal(found.obs_next, np.array(obs_next, np.float32))
    np.testing.assert_array_equal(found.terminated, terminated)
    np.testing.assert_array_equal(found.truncated, truncated)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"rewards": None}, "missing dataset rewards; found: observations, next_observations, actions"),
        ({"timeouts": None, "next_observations": None}, "missing dataset timeouts or next_observations"),
        ({"rewards": np.ones(6)}, "rewards ends before row 6, observations has 8 rows"),
        ({"rewards": np.array([0, 0, 0, np.nan, 0, 0, 0, 0])}, "rewards row 3 is nan"),
        ({"terminals": np.array([0, 1, 2, 0, 0, 0, 0, 0])}, "terminals row 2 is 2; allowed: 0 or 1"),
        ({"timeouts": np.full(8, -1)}, "timeouts row 0 is -1; allowed: 0 or 1"),
        ({"next_observations": np.ones((8, 3))}, r"next_observations is float32 \(3,\) a row"),
        ({"observations": np.array(["a"] * 8)}, "observations has dtype <U1"),
        ({"observations": np.array([None] * 8)}, "at the key observations: an array of objects, which is a pickle"),
        ({key: np.zeros((0, 2)) for key in d4rl()}, "are empty; at least one row is needed"),
        ({"terminals": np.zeros(8), "timeouts": np.ones(8), "next_observations": None}, "observations has no row 1"),
    ],
)
def test_fault_names_file_key_and_row(tmp_path: Path, changed: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"data.npz: .*{message}"):
        read(tmp_path, **changed)


@pytest.mark.parametrize("content", [b"", b"not an archive", b"PK\x03\x04" + bytes(50)])
def test_other_files(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "other.npz").write_bytes(content)
    with pytest.raises(ValueError, match=r"other\.npz: not a readable \.npz archive"):
        read_transitions(tmp_path / "other.npz")
    with pytest.raises(FileNotFoundError, match=r"absent\.npz: no such file"):
        read_transitions(tmp_path / "absent.npz")


def test_a_pickle_is_never_run(tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> tuple[Any, ...]:
            return (os.mkdir, (str(tmp_path / "ran"),))

    (tmp_path / "other.npz").write_bytes(pickle.dumps(Bomb()))
    np.savez(tmp_path / "inside.npz", **d4rl(rewards=np.array([Bomb()] * 8)))
    for name, said in (("other.npz", "a pickle"), ("inside.npz", "not a readable")):
        with pytest.raises(ValueError, match=f"{name}: {said}"):
            read_transitions(tmp_path / name)
    assert not (tmp_path / "ran").exists()


def test_a_key_that_only_the_archives_list_calls_otherwise_is_no_missing_key(tmp_path: Path) -> None:
    write(tmp_path / "bad.npz", d4rl())
    content = (tmp_path / "bad.npz").read_bytes()
    before, after = content.rsplit(b"timeouts.npy", 1)
    (tmp_path / "bad.npz").write_bytes(before + b"timeoutz.npy" + after)
    with pytest.raises(ValueError, match=r"bad\.npz: not a readable .*timeoutz\.npy"):
        read_transitions(tmp_path / "bad.npz")


def assert_refused_or_right(path: Path) -> None:
    try:
        found = read_transitions(path)
    except ValueError as error:
        assert str(error).startswith(f"{path}: ")  # noqa: PT017
    else:
        np.testing.assert_array_equal(found.episode_returns, [7, 56, 192])


@settings(max_examples=100, deadline=None, suppress_health_check=FIXTURE)
@given(data=st.data())
def test_archive_cut_or_changed_anywhere_is_refused_or_right(tmp_path: Path, data: st.DataObject) -> None:
    whole = tmp_path / "whole.npz"
    if not whole.exists():
        write(whole, d4rl())
    content = bytearray(whole.read_bytes())
    if data.draw(st.booleans()):
        content = content[: data.draw(st.integers(0, len(content)))]
    else:
        content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
    (tmp_path / "bad.npz").write_bytes(content)
    assert_refused_or_right(tmp_path / "bad.npz")


ARRAYS = st.builds(
    lambda shape, dtype, value: np.full(shape, value).astype(dtype),
    st.lists(st.integers(0, 9), max_size=3).map(tuple),
    st.sampled_from(["f2", "f4", "f8", "i1", "u1", "i8", "u8", "?", "c8", "U3", "S2", "M8[s]", "V4"]),
    st.sampled_from([0, 1, 2]),
)


@settings(max_examples=150, deadline=None, suppress_health_check=FIXTURE)
@given(key=st.sampled_from(sorted(d4rl())), column=ARRAYS)
@example(key="observations", column=np.full((8, 2), np.inf))
def test_any_array_in_place_of_a_column_is_refused_or_read(tmp_path: Path, key: str, column: Any) -> None:
    path = write(tmp_path / "data.npz", d4rl(**{key: column}))
    try:
        found = read_transitions(path)
    except ValueError as error:
        assert str(error).startswith(f"{path}: ")  # noqa: PT017
        assert key in str(error)  # noqa: PT017
    else:
        assert len(found) == 8
        name = {"observations": "obs", "next_observations": "obs_next", "actions": "act", "rewards": "rew",
                "terminals": "terminated"}.get(key)  # fmt: skip
        if name:
            read = getattr(found, name)
            np.testing.assert_array_equal(read, column.astype(np.float64).reshape(read.shape))
