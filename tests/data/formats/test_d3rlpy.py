import logging
from pathlib import Path
from typing import Any

import gymnasium as gym
import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bcq_exp.data import Transitions, check_against, read_transitions
from bcq_exp.data import read_transitions as read_d3rlpy
from bcq_exp.data.formats.d3rlpy import read_d3rlpy_2
from cases import REPLAYS, read_cut, write_datasets


def content(**changed: Any) -> dict[str, Any]:
    """Three episodes: failed (rows 0 to 2, with the spurious flag), time limit (3 to 5), time limit at once (6)."""
    columns = {
        "observations": np.arange(14, dtype=np.float32).reshape(7, 2),
        "actions": np.array([0, 1, 0, 1, 1, 0, 1], np.int32),
        "rewards": np.array([1, 2, 4, 8, 16, 32, 64], np.float32),
        "terminals": np.array([0, 1, 1, 0, 0, 0, 0], np.float32),
        "episode_terminals": np.array([0, 0, 1, 0, 0, 1, 1], np.float32),
        "discrete_action": np.bool_(True),
        "version": "1.0",
    }
    return columns | changed


def write(path: Path, **changed: Any) -> Path:
    return write_datasets(path, content(**changed))


def test_rows_of_a_small_file(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    found = read_d3rlpy(write(tmp_path / "data.h5"))
    np.testing.assert_array_equal(found.rows, [0, 1, 2, 3, 4])
    np.testing.assert_array_equal(found.obs[:, 0], [0, 2, 4, 6, 8])
    np.testing.assert_array_equal(found.obs_next[:, 0], [2, 4, 4, 8, 10])
    np.testing.assert_array_equal(found.act, [0, 1, 0, 1, 1])
    np.testing.assert_array_equal(found.rew, [1, 2, 4, 8, 16])
    np.testing.assert_array_equal(found.terminated, [0, 0, 1, 0, 0])
    np.testing.assert_array_equal(found.truncated, [0, 0, 0, 0, 1])
    np.testing.assert_array_equal(found.episode_returns, [7, 56, 64])
    assert found.act.dtype == np.int64
    assert not caplog.records


def test_discrete_action_decides_the_kind_of_actions(tmp_path: Path) -> None:
    column = np.array([[0], [1], [0], [1], [1], [0], [1]])
    assert read_d3rlpy(write(tmp_path / "a.h5", actions=column)).act.shape == (5,)
    found = read_d3rlpy(write(tmp_path / "b.h5", actions=column, discrete_action=np.bool_(False)))
    assert found.act.shape == (5, 1)
    assert found.act.dtype == np.float32


def test_a_time_limit_is_refused_where_episode_terminals_say_where_episodes_end(tmp_path: Path) -> None:
    path = write(tmp_path / "data.h5")
    with pytest.raises(ValueError, match=r"data\.h5: episode_terminals says where .* max_episode_steps=3 has nothing"):
        read_transitions(path, 3)


def test_terminated_episode_of_one_row_is_kept(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = write(tmp_path / "data.h5", terminals=[0, 1, 1, 0, 0, 0, 1])
    found = read_d3rlpy(path)
    np.testing.assert_array_equal(found.rows, [0, 1, 2, 3, 4, 6])
    np.testing.assert_array_equal(found.terminated, [0, 0, 1, 0, 0, 1])
    np.testing.assert_array_equal(found.truncated, [0, 0, 0, 0, 1, 0])
    assert not caplog.records


def test_terminated_episode_before_one_that_vanishes_is_not_truncated(tmp_path: Path) -> None:
    found = read_d3rlpy(write(tmp_path / "data.h5", terminals=[0, 1, 1, 0, 1, 1, 0]))
    np.testing.assert_array_equal(found.rows, [0, 1, 2, 3, 4, 5])
    np.testing.assert_array_equal(found.terminated, [0, 0, 1, 0, 0, 1])
    np.testing.assert_array_equal(found.truncated, [0, 0, 0, 0, 0, 0])


def test_stray_terminals_are_passed_over_with_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        found = read_d3rlpy(write(tmp_path / "data.h5", terminals=[1, 1, 1, 0, 1, 0, 0]))
    np.testing.assert_array_equal(found.terminated, [0, 0, 1, 0, 0])
    assert [record.getMessage() for record in caplog.records] == [
        f"{tmp_path / 'data.h5'}: terminals is 1 inside an episode in 2 rows, first in row 0; passed over"
    ]


def test_recording_that_was_cut_is_truncated_with_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = write(tmp_path / "data.h5", episode_terminals=[0, 0, 1, 0, 0, 0, 0], terminals=[0, 1, 1, 0, 0, 0, 1])
    with caplog.at_level(logging.WARNING):
        found = read_d3rlpy(path)
    np.testing.assert_array_equal(found.rows, [0, 1, 2, 3, 4, 5])
    np.testing.assert_array_equal(found.terminated, [0, 0, 1, 0, 0, 0])
    np.testing.assert_array_equal(found.truncated, [0, 0, 0, 0, 0, 1])
    np.testing.assert_array_equal(found.episode_returns, [7, 120])
    (record,) = caplog.records
    assert "data.h5: episode_terminals row 6 is 0" in record.getMessage()


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"rewards": None}, "missing dataset rewards; found: actions, discrete_action"),
        ({"discrete_action": None}, "missing dataset discrete_action"),
        ({"discrete_action": 3}, "discrete_action row 0 is 3; allowed: 0 or 1"),
        ({"rewards": np.ones(6)}, "rewards ends before row 6, observations has 7 rows"),
        # In the last row of a time limit, which is no transition: its values are checked all the same.
        ({"rewards": [0, 0, 0, 0, 0, np.nan, 0]}, "rewards row 5 is nan"),
        ({"observations": np.where(np.eye(7, 2)[:, ::-1], np.inf, 0)}, "observations row 0 is inf"),
        ({"actions": [0, 1, 0.5, 1, 1, 0, 0]}, "actions row 2 is 0.5; allowed: integers"),
        ({"actions": np.ones((7, 2))}, r"actions has shape \(7, 2\)"),
        ({"actions": np.ones((7, 2, 2)), "discrete_action": False}, r"actions has shape \(7, 2, 2\), .*\(N, A\)"),
        ({"terminals": [0, 1, 1, 0, -1, 0, 0]}, "terminals row 4 is -1; allowed: 0 or 1"),
        ({"episode_terminals": [0, 0, 1, 0, 0, 1, 7]}, "episode_terminals row 6 is 7"),
        ({"terminals": np.zeros(7), "episode_terminals": np.ones(7)}, "no next observation"),
    ],
)
def test_fault_names_file_key_and_row(tmp_path: Path, changed: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"data.h5: .*{message}"):
        read_d3rlpy(write(tmp_path / "data.h5", **changed))


def test_misfit_names_the_file_s_own_key_and_row(tmp_path: Path) -> None:
    ends = np.array([0, 1, 0, 1, 0, 0, 1])
    path = write(tmp_path / "data.h5", terminals=np.zeros(7), episode_terminals=ends, actions=[0, 0, 0, 0, 0, 2, 0])
    with pytest.raises(ValueError, match=r"data\.h5: actions row 5 is 2; allowed: 0 to 1"):
        check_against(read_d3rlpy(path), gym.spaces.Box(0, 20, (2,)), gym.spaces.Discrete(2), 1)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_file_cut_anywhere_is_refused_or_right(tmp_path: Path, data: st.DataObject) -> None:
    path = tmp_path / "whole.h5"
    if not path.exists():
        write(path)
    found = read_cut(path, read_d3rlpy, data)
    if found is not None:
        np.testing.assert_array_equal(found.episode_returns, [7, 56, 64])


def read_slowly(path: Path) -> dict[str, list[Any]]:
    """The layout's rules once more, row by row."""
    with h5py.File(path) as file:
        raw = {key: file[key][()] for key in file}
    found: dict[str, list[Any]] = {key: [] for key in ("obs", "act", "rew", "obs_next", "terminated", "truncated")}
    returns: list[float] = []
    start = 0
    for end in np.flatnonzero(raw["episode_terminals"]).tolist():
        returns.append(float(sum(float(reward) for reward in raw["rewards"][start : end + 1])))
        has_failed = bool(raw["terminals"][end])
        for i in range(start, end + 1 if has_failed else end):
            is_last = i == end
            found["obs"].append(raw["observations"][i])
            found["act"].append(raw["actions"][i])
            found["rew"].append(raw["rewards"][i])
            found["obs_next"].append(raw["observations"][i if is_last else i + 1])
            found["terminated"].append(is_last)
            found["truncated"].append(not has_failed and i == end - 1)
        start = end + 1
    return found | {"episode_returns": returns}


def read_real(name: str) -> tuple[Transitions, dict[str, list[Any]]]:
    path = REPLAYS / name
    if not path.is_file():
        pytest.skip(f"{name} is not here")
    return read_d3rlpy(path), read_slowly(path)


@pytest.mark.parametrize("name", ["cartpole_replay.h5", "pendulum_replay.h5"])
def test_real_file_reads_as_row_by_row(name: str, caplog: pytest.LogCaptureFixture) -> None:
    found, expected = read_real(name)
    for key, column in expected.items():
        np.testing.assert_allclose(getattr(found, key), np.array(column), rtol=1e-12 if key == "episode_returns" else 0)
    assert not caplog.records


def test_cartpole_figures() -> None:
    found, _ = read_real("cartpole_replay.h5")
    assert len(found) == 99_866 - 134
    assert found.episode_returns.shape == (1_582,)
    assert found.episode_returns.mean() == pytest.approx(63.126422, abs=1e-6)
    assert (found.terminated.sum(), found.truncated.sum()) == (1_448, 134)
    # Physics, not flags: only the terminated rows step out of CartPole's bounds (12 degrees, 2.4 units).
    position, velocity, angle, spin = found.obs.astype(np.float64).T
    is_out = (np.abs(position + 0.02 * velocity) > 2.4) | (np.abs(angle + 0.02 * spin) > np.radians(12))
    np.testing.assert_array_equal(is_out, found.terminated)
    env = gym.make("CartPole-v1")
    check_against(found, env.observation_space, env.action_space, batch_size=64)


def test_pendulum_figures() -> None:
    found, _ = read_real("pendulum_replay.h5")
    assert len(found) == 99_000
    assert found.episode_returns.shape == (500,)
    assert found.episode_returns.mean() == pytest.approx(-180.4808, abs=1e-4)
    assert (found.terminated.sum(), found.truncated.sum()) == (0, 500)
    env = gym.make("Pendulum-v1")
    check_against(found, env.observation_space, env.action_space, batch_size=100)


def content_2(**changed: Any) -> dict[str, Any]:
    """What d3rlpy 2.8 dumps of three episodes: terminated, with a time limit, and terminated after one step."""
    columns = {
        "columns": ["observations", "actions", "rewards", "terminated"],
        "num_episodes": 3,
        "version": "2.1",
        "observations_0": np.arange(6, dtype=np.float32).reshape(3, 2),
        "actions_0": np.array([[0], [1], [0]]),
        "rewards_0": np.array([[1.0], [2], [4]]),
        "terminated_0": np.bool_(True),
        "observations_1": np.arange(6, 12, dtype=np.float32).reshape(3, 2),
        "actions_1": np.array([[1], [1], [0]]),
        "rewards_1": np.array([[8.0], [16], [32]]),
        "terminated_1": np.bool_(False),
        "observations_2": np.arange(12, 14, dtype=np.float32).reshape(1, 2),
        "actions_2": np.array([[1]]),
        "rewards_2": np.array([[64.0]]),
        "terminated_2": np.bool_(True),
    }
    return columns | changed


def write_2(path: Path, **changed: Any) -> Path:
    return write_datasets(path, content_2(**changed))


def test_rows_of_a_small_file_of_version_2(tmp_path: Path) -> None:
    found = read_transitions(write_2(tmp_path / "data.h5"))
    np.testing.assert_array_equal(found.rows, [0, 1, 2, 3, 4, 6])
    np.testing.assert_array_equal(found.obs[:, 0], [0, 2, 4, 6, 8, 12])
    np.testing.assert_array_equal(found.obs_next[:, 0], [2, 4, 4, 8, 10, 12])
    np.testing.assert_array_equal(found.act, [0, 1, 0, 1, 1, 1])
    np.testing.assert_array_equal(found.rew, [1, 2, 4, 8, 16, 64])
    np.testing.assert_array_equal(found.terminated, [0, 0, 1, 0, 0, 1])
    np.testing.assert_array_equal(found.truncated, [0, 0, 0, 0, 1, 0])
    np.testing.assert_array_equal(found.episode_returns, [7, 56, 64])
    assert found.act.dtype == np.int64


def test_more_than_ten_episodes_stay_in_their_order(tmp_path: Path) -> None:
    """Keys in the order of their letters would put episode 10 before episode 2."""
    parts = {f"rewards_{i}": np.array([float(i)]) for i in range(12)}
    parts |= {f"observations_{i}": np.full((1, 1), i, np.uint8) for i in range(12)}
    parts |= {f"actions_{i}": np.full((1, 3), i / 10) for i in range(12)} | {f"terminated_{i}": True for i in range(12)}
    found = read_d3rlpy_2(write_2(tmp_path / "data.h5", num_episodes=12, **parts))
    np.testing.assert_array_equal(found.rew, range(12))
    np.testing.assert_array_equal(found.obs[:, 0], range(12))
    assert (found.obs.dtype, found.act.dtype, found.act.shape) == (np.uint8, np.float32, (12, 3))


def test_both_versions_of_one_recording_read_alike(tmp_path: Path) -> None:
    terminals = np.array([0, 0, 1, 0, 0, 0, 1])
    first = read_d3rlpy(write(tmp_path / "1.h5", actions=[0, 1, 0, 1, 1, 0, 1], terminals=terminals))
    second = read_d3rlpy_2(write_2(tmp_path / "2.h5"))
    for key in ("obs", "act", "rew", "terminated", "truncated", "obs_next", "episode_returns", "rows"):
        np.testing.assert_array_equal(getattr(first, key), getattr(second, key), strict=True)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"version": "2.0"}, r"version is b'2\.0'; allowed: 2\.1"),
        ({"version": b"\xff"}, r"version is b'\\xff'; allowed: 2\.1"),
        ({"version": None}, "missing dataset version"),
        ({"num_episodes": None}, "missing dataset num_episodes"),
        ({"num_episodes": 0}, "num_episodes is 0; allowed: a whole number from 1"),
        ({"num_episodes": 3.0}, r"num_episodes is 3\.0"),
        ({"num_episodes": 10**15}, "missing dataset observations_3, actions_3, rewards_3, terminated_3; found: none"),
        ({"actions_1": None}, "missing dataset actions_1; found: observations_1, rewards_1, terminated_1"),
        ({"rewards_1": np.ones(2)}, "rewards_1 ends before row 2, observations_1 has 3 rows"),
        ({"rewards_1": np.array([[1], [1], [np.nan]])}, "rewards_1 row 2 is nan"),
        ({"rewards_0": np.ones((3, 2))}, r"rewards_0 has shape \(3, 2\)"),
        ({"actions_0": np.ones((3, 2), np.int64)}, r"actions_1 is int64 \(\) a row, .*like actions_0, float32 \(2,\)"),
        ({"actions_2": np.ones((1, 2))}, r"actions_2 is float32 \(2,\) a row, .*like actions_0, int64"),
        ({"observations_2": np.ones((1, 5))}, r"observations_2 is float32 \(5,\) a row"),
        ({"observations_0": np.zeros((0, 2))}, "observations_0 ends before row 0"),
        ({"terminated_1": 2}, "terminated_1 row 0 is 2; allowed: 0 or 1"),
        ({"terminated_1": [True, False]}, "terminated_1 has 2 values"),
    ],
)
def test_fault_in_version_2_names_file_key_and_row(tmp_path: Path, changed: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"data.h5: .*{message}"):
        read_transitions(write_2(tmp_path / "data.h5", **changed))


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_file_of_version_2_cut_anywhere_is_refused_or_right(tmp_path: Path, data: st.DataObject) -> None:
    path = tmp_path / "whole.h5"
    if not path.exists():
        write_2(path)
    found = read_cut(path, read_d3rlpy_2, data)
    if found is not None:
        np.testing.assert_array_equal(found.episode_returns, [7, 56, 64])


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    key=st.sampled_from([key for key in content_2() if key.endswith("_1")] + ["version", "num_episodes"]),
    shape=st.lists(st.integers(0, 4), max_size=3),
    dtype=st.sampled_from(["f2", "f8", "i1", "u8", "?", "c8", "S2"]),
    value=st.sampled_from([0, 1, 2]),
)
def test_any_array_in_place_of_one_of_version_2_is_refused_or_read(
    tmp_path: Path, key: str, shape: list[int], dtype: str, value: int
) -> None:
    path = write_2(tmp_path / "data.h5", **{key: np.full(shape, value).astype(dtype)})
    try:
        found = read_d3rlpy_2(path)
    except ValueError as error:
        message = str(error)
    else:
        assert len(found.episode_returns) == (value if key == "num_episodes" else 3)
        return
    assert message.startswith(f"{path}: ")
    assert key in message
