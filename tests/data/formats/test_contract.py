"""What one reader grants every reader grants: one recording, written in every layout, is one dataset."""

import itertools
from collections.abc import Callable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import gymnasium as gym
import h5py
import numpy as np
import pytest

from bcq_exp.data import Transitions, check_against, read_transitions
from bcq_exp.data.formats.d4rl import read_d4rl
from bcq_exp.data.formats.tables.arrow import SUFFIXES, TableFile, write
from bcq_exp.data.formats.tables.roles import TableColumns
from bcq_exp.data.formats.tables.table import read_table
from bcq_exp.envs.observations import OneHot
from cases import write_datasets

Columns = dict[str, Any]

LENGTHS = (3, 1, 4, 2)  # steps of the episodes, which end in turn by a terminal state, one, a time limit, a cut file
TERMINATED = np.array([0, 0, 1, 1, 0, 0, 0, 0, 0, 0], bool)
TIMEOUTS = np.array([0, 0, 0, 0, 0, 0, 0, 1, 0, 0], bool)
ENDS = np.array([0, 0, 1, 1, 0, 0, 0, 1, 0, 1], bool)
NUM = len(ENDS)

PLANE, COIN, STICK = gym.spaces.Box(-99, 99, (2,)), gym.spaces.Discrete(3), gym.spaces.Box(-9, 9, (1,))
STATES = OneHot(gym.spaces.Discrete(16, start=-1))


def recording(**changed: Any) -> Columns:
    """Columns by the project's names, each observation its own; `after` are those behind the last steps."""
    obs = np.arange(2 * NUM, dtype=np.float32).reshape(NUM, 2)
    columns = {
        "obs": obs,
        "obs_next": None,
        "act": np.arange(NUM) % 3,
        "rew": 2.0 ** np.arange(NUM),
        "terminated": TERMINATED,
        "truncated": TIMEOUTS,
    }
    return columns | changed


def with_next(columns: Columns, name: str = "obs") -> Columns:
    """With what followed each row: the next row's, and at the end of an episode what no other row has."""
    column = np.asarray(columns[name])
    after = np.where(ENDS.reshape(-1, *[1] * (column.ndim - 1)), column[::-1], np.roll(column, -1, axis=0))
    return columns | {f"{name}_next": after.astype(column.dtype)}


def own_npz(path: Path, columns: Columns) -> Path:
    np.savez(path / "own.npz", **present(columns))
    return path / "own.npz"


def own_h5(path: Path, columns: Columns) -> Path:
    """The project's layout, by its attributes."""
    with h5py.File(write_datasets(path / "own.h5", columns), "a") as file:
        file.attrs.update(format="bcq_exp", version=1, env="Env-v0", manifest="{}")
    return path / "own.h5"


def d4rl_names(columns: Columns) -> Columns:
    names = {"obs": "observations", "act": "actions", "rew": "rewards", "terminated": "terminals"}
    names |= {"truncated": "timeouts", "obs_next": "next_observations"}
    names |= {"mask": "infos/action_mask", "mask_next": "infos/next_action_mask"}
    return {names[key]: column for key, column in present(columns).items()}


def d4rl_npz(path: Path, columns: Columns) -> Path:
    np.savez(path / "d4rl.npz", **d4rl_names(columns))
    return path / "d4rl.npz"


def d4rl_h5(path: Path, columns: Columns) -> Path:
    return write_datasets(path / "d4rl.hdf5", d4rl_names(columns))


def d3rlpy_1(path: Path, columns: Columns) -> Path:
    named = d4rl_names(columns)
    named |= {"episode_terminals": named.pop("timeouts").reshape(-1) | ENDS, "version": "1.0"}
    for old, new in (("infos/action_mask", "action_mask"), ("infos/next_action_mask", "next_action_mask")):
        if old in named:
            named[new] = named.pop(old)
    act = np.asarray(columns["act"])
    return write_datasets(path / "v1.h5", named | {"discrete_action": act.size == NUM and (act == act // 1).all()})


def d3rlpy_2(path: Path, columns: Columns) -> Path:
    named, starts = {"num_episodes": len(LENGTHS), "version": "2.1"}, np.cumsum((0, *LENGTHS))
    names = {"obs": "observations", "act": "actions", "rew": "rewards", "obs_next": "next_observations"}
    names |= {"mask": "action_mask", "mask_next": "next_action_mask"}
    for i, (start, end) in enumerate(itertools.pairwise(starts)):
        named |= {f"{names[key]}_{i}": column[start:end] for key, column in present(columns).items() if key in names}
        named[f"terminated_{i}"] = bool(np.asarray(columns["terminated"]).reshape(-1)[end - 1])
    return write_datasets(path / "v2.h5", named)


def table(path: Path, columns: Columns, suffix: str) -> Path:
    """A column a number, and an id for each episode, by which its last row is told."""
    made = {"episode": np.repeat(["b", "d", "a", "c"], LENGTHS)}
    for key, column in present(columns).items():
        if key != "truncated":
            rows = np.asarray(column).reshape(NUM, -1)
            rows = rows.astype(np.uint8) if rows.dtype == np.bool_ else rows
            made |= {f"{key} {place}": rows[:, place] for place in range(rows.shape[1])}
    (path / f"table{suffix}").unlink(missing_ok=True)
    write(path / f"table{suffix}", [made])
    return path / f"table{suffix}"


def csv_table(path: Path, columns: Columns) -> Path:
    return table(path, columns, ".csv")


def parquet_table(path: Path, columns: Columns) -> Path:
    return table(path, columns, ".parquet")


def read(path: Path) -> Transitions:
    if path.suffix not in SUFFIXES:
        return read_transitions(path)
    roles = {role: f"{role} *" for role in ("obs", "act", "rew", "terminated", "mask", "obs_next", "mask_next")}
    there = {role: word for role, word in roles.items() if any(n.startswith(word[:-1]) for n in TableFile(path).names)}
    nothing: dict[str, Any] = dict.fromkeys((spec.name for spec in fields(TableColumns)), None)
    return read_table(path, TableColumns(**{**nothing, **there, "episode": "episode"}))


FILES: dict[str, Callable[[Path, Columns], Path]] = {
    write.__name__: write
    for write in (own_npz, own_h5, d4rl_npz, d4rl_h5, d3rlpy_1, d3rlpy_2, csv_table, parquet_table)
}


def present(columns: Columns) -> Columns:
    return {key: np.asarray(column) for key, column in columns.items() if column is not None}


def assert_same(found: Transitions, expected: Mapping[str, Any]) -> None:
    for key, column in expected.items():
        np.testing.assert_array_equal(getattr(found, key), column, strict=True, err_msg=key)


def expected(columns: Columns, *, has_successors: bool) -> dict[str, Any]:
    """The contract once more, row by row, for a recording whose columns have the project's types and shapes."""
    rows = [i for i in range(NUM) if has_successors or TERMINATED[i] or not ENDS[i]]
    found: dict[str, list[Any]] = {key: [] for key in ("obs", "act", "rew", "terminated", "truncated", "obs_next")}
    if "mask" in columns:
        found |= {"mask": [], "mask_next": []}
    for i in rows:
        for key in ("obs", "act", "rew", "terminated", *(["mask"] if "mask" in columns else [])):
            found[key].append(columns[key][i])
        is_cut = not has_successors and not ENDS[i] and ENDS[i + 1] and not TERMINATED[i + 1]
        found["truncated"].append(bool(is_cut or (ENDS[i] and not TERMINATED[i])))
        for name in ("obs", "mask") if "mask" in columns else ("obs",):
            after = columns.get(f"{name}_next")
            following = columns[name][i if TERMINATED[i] else i + 1] if after is None else after[i]
            found[f"{name}_next"].append(following)
    types = {"obs": np.float32, "obs_next": np.float32, "rew": np.float32, "mask": np.bool_, "mask_next": np.bool_}
    made = {key: np.array(column, types.get(key)) for key, column in found.items()}
    return made | {"rows": np.array(rows), "episode_returns": np.array([7.0, 8.0, 240.0, 768.0])}


MASK = np.array([[1, 1, 0], [0, 1, 1], [1, 0, 1]], bool)[np.arange(NUM) % 3]  # each has the action that was taken
COLUMN = np.arange(NUM)[:, None]

# By name: the columns as they are written, the spaces, and the same columns as they have to be read.
VARIANTS: dict[str, tuple[Columns, tuple[Any, Any], Columns]] = {
    "one axis": (recording(), (PLANE, COIN), recording()),
    "two axes": (
        {key: column if key == "obs" or column is None else column[:, None] for key, column in recording().items()},
        (PLANE, COIN),
        recording(),
    ),
    "other types": (
        recording(terminated=TERMINATED.astype(np.float64), truncated=TIMEOUTS * 1, obs=recording()["obs"] * 1.0),
        (PLANE, COIN),
        recording(),
    ),
    "whole floats": (recording(act=np.arange(NUM) % 3 * 1.0), (PLANE, COIN), recording()),
    "whole floats in two axes": (recording(act=(COLUMN % 3).astype(np.float32)), (PLANE, COIN), recording()),
    "integers for a Box": (
        recording(act=np.arange(NUM)),
        (PLANE, gym.spaces.Box(-9, 9, (1,))),
        recording(act=COLUMN.astype(np.float32)),
    ),
    "fractions in one axis": (
        recording(act=np.arange(NUM) / 2),
        (PLANE, STICK),
        recording(act=(COLUMN / 2).astype(np.float32)),
    ),
    "integers in many axes": (
        recording(act=np.tile(COLUMN, (1, 2))),
        (PLANE, gym.spaces.Box(-9, 9, (2,))),
        recording(act=np.tile(COLUMN, (1, 2)).astype(np.float32)),
    ),
    "bytes": (recording(obs=recording()["obs"].astype(np.uint8)), (PLANE, COIN), recording()),
    "bytes, in the environment too": (
        recording(obs=recording()["obs"].astype(np.uint8)),
        (gym.spaces.Box(0, 255, (2,), np.uint8), COIN),
        recording(),
    ),
    "observations of one number": (
        recording(obs=np.arange(NUM)),
        (gym.spaces.Box(-99, 99, (1,)), COIN),
        recording(obs=COLUMN.astype(np.float32)),
    ),
    "states": (recording(obs=np.arange(NUM)), (STATES, COIN), recording(obs=np.eye(16, dtype=np.float32)[1 : NUM + 1])),
    "states of bytes in two axes": (
        recording(obs=COLUMN.astype(np.uint8)),
        (STATES, COIN),
        recording(obs=np.eye(16, dtype=np.float32)[1 : NUM + 1]),
    ),
    "masks": (recording(mask=MASK), (PLANE, COIN), recording(mask=MASK)),
    "masks of integers": (recording(mask=MASK.astype(np.int8)), (PLANE, COIN), recording(mask=MASK)),
}


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("has_next", [False, True], ids=["steps", "next"])
@pytest.mark.parametrize("layout", FILES)
def test_a_recording_is_the_same_dataset_in_every_layout(
    tmp_path: Path, layout: str, has_next: bool, variant: str
) -> None:
    columns, spaces, typed = VARIANTS[variant]
    if has_next:
        columns, typed = with_next(columns), with_next(typed)
    if has_next and "mask" in columns:
        columns, typed = with_next(columns, "mask"), with_next(typed, "mask")
    found = check_against(read(FILES[layout](tmp_path, columns)), *spaces, batch_size=1)
    assert_same(found, expected(typed, has_successors=has_next))


@pytest.mark.parametrize("layout", FILES)
def test_a_row_whose_next_mask_is_not_known_has_no_successor(tmp_path: Path, layout: str) -> None:
    """One column of masks: the next row's are those that come next, whatever the next observations are."""
    columns = with_next(recording(mask=MASK))
    found = read(FILES[layout](tmp_path, columns))
    assert_same(found, expected(columns, has_successors=False))


@pytest.mark.parametrize("layout", ["own_npz", "own_h5", "d4rl_npz", "d4rl_h5"])
def test_without_time_limits_next_observations_tell_where_episodes_end(tmp_path: Path, layout: str) -> None:
    columns = with_next(recording(truncated=None))
    found = read_transitions(FILES[layout](tmp_path, columns))
    assert_same(found, expected(columns, has_successors=True))


@pytest.mark.parametrize("layout", ["own_npz", "own_h5", "d4rl_npz", "d4rl_h5"])
def test_without_both_the_user_chooses(tmp_path: Path, layout: str) -> None:
    path = FILES[layout](tmp_path, recording(truncated=None))
    with pytest.raises(ValueError, match=r"missing dataset (truncated|timeouts) or .*dataset\.max_episode_steps=0"):
        read_transitions(path)
    assert_same(read_transitions(path, 4), expected(recording(), has_successors=False))
    found = read_transitions(path, 0)
    np.testing.assert_array_equal(found.rows, [0, 1, 2, 3, 4, 5, 6, 7, 8])
    np.testing.assert_array_equal(found.truncated, [0] * 8 + [1])
    np.testing.assert_array_equal(found.episode_returns, [7, 8, 1008])
    with pytest.raises(ValueError, match=r"max_episode_steps=4 .* dataset\.max_episode_steps=null"):
        read_transitions(FILES[layout](tmp_path, recording()), 4)


def test_d4rls_own_rule_reads_the_same_types(tmp_path: Path) -> None:
    """It drops the last row, and rows at time limits: here rows 7 and 9."""
    for columns, spaces, typed in VARIANTS.values():
        path = d4rl_h5(tmp_path, columns)
        read = read_d4rl(path, terminate_on_end=False, max_episode_steps=None)
        found = check_against(read, *spaces, batch_size=1)
        rows = np.array([0, 1, 2, 3, 4, 5, 6, 8])
        assert_same(found, {key: present(typed)[key][rows] for key in ("obs", "act")})
        assert_same(found, {"obs_next": present(typed)["obs"][rows + 1], "rows": rows})
        if "mask" in columns:
            assert_same(found, {"mask": MASK[rows], "mask_next": MASK[rows + 1]})


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("place", ["infos", "observations", "infos of steps"])
def test_minari_has_the_same_masks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str) -> None:
    """An episode has one mask more than steps, in its infos or its observations; in `infos of steps`, one a step."""
    minari = pytest.importorskip("minari")
    from minari.data_collector import EpisodeBuffer

    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "root"))
    columns = with_next(with_next(recording(mask=MASK)), "mask")
    starts, buffers = np.cumsum((0, *LENGTHS)), []
    box = gym.spaces.Box(-99, 99, (2,))
    space = box
    if place == "observations":
        space = gym.spaces.Dict({"observation": box, "action_mask": gym.spaces.MultiBinary(3)})
    for i, (start, end) in enumerate(itertools.pairwise(starts)):
        both = {
            name: np.concatenate([columns[name][start:end], columns[f"{name}_next"][end - 1 : end]])
            for name in ("obs", "mask")
        }
        mask = both["mask"].astype(np.int8)
        buffers.append(
            EpisodeBuffer(
                id=i,
                observations={"observation": both["obs"], "action_mask": mask} if space is not box else both["obs"],
                actions=columns["act"][start:end],
                rewards=columns["rew"][start:end],
                terminations=TERMINATED[start:end],
                truncations=TIMEOUTS[start:end],
                infos={"action_mask": mask[: -1 if place == "infos of steps" else None]} if space is box else {},
            )
        )
    minari.create_dataset_from_buffers("tests/masks-v0", buffers, observation_space=space, action_space=COIN)
    read = read_transitions(tmp_path / "root" / "tests" / "masks-v0")
    found = check_against(read, PLANE, COIN, batch_size=1)
    has_successors = place != "infos of steps"
    wanted = expected(columns if has_successors else columns | {"mask_next": None}, has_successors=has_successors)
    del wanted["rows"]
    assert_same(found, wanted)


@pytest.mark.parametrize("layout", FILES)
def test_a_logged_action_that_its_mask_excludes_is_named_with_its_row(tmp_path: Path, layout: str) -> None:
    mask = MASK.copy()
    mask[5] = [1, 1, 0]
    found = read(FILES[layout](tmp_path, recording(mask=mask)))
    with pytest.raises(ValueError, match=r"row 5 is 2, which .*mask.* excludes there; allowed: 0, 1 "):
        check_against(found, PLANE, COIN, batch_size=1)
    found = read(FILES[layout](tmp_path, recording(mask=np.ones((NUM, 4)))))
    with pytest.raises(ValueError, match=r"mask.* has 4 actions a row; the environment has Discrete\(3\)"):
        check_against(found, PLANE, COIN, batch_size=1)
