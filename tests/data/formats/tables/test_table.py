"""Tables as people have them: what is read is worked out by hand, and what is wrong is said in one line."""

import gzip
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from omegaconf import OmegaConf

from bcq_exp.data import Transitions, storage
from bcq_exp.data.formats.tables import arrow
from bcq_exp.data.formats.tables.roles import TableColumns
from bcq_exp.data.formats.tables.table import read_table
from bcq_exp.data.formats.tables.values import NUMBERS
from bcq_exp.data.storage import is_mapped
from bcq_exp.training.datasets import checked_dataset
from cases import composed

WARD = """\
patient,hour,pulse,fever,dose,better,left
kim,2,72,0.5,low,1,1
ann,10,90,1.5,none,0,0
kim,1,71,0.25,high,0,0
ann,9,80,2.5,low,0,0
bo,5,60,0,low,4,0
bo,6,61,0,none,8,0
"""
ROLES = {"obs": ["pulse", "fever"], "act": "dose", "rew": "better", "episode": "patient", "time": "hour"}


def columns(**roles: Any) -> TableColumns:
    nothing = dict.fromkeys(TableColumns.__dataclass_fields__)
    return TableColumns(**{**nothing, **ROLES, **roles})


def written(path: Path, text: str = WARD, name: str = "ward.csv") -> Path:
    (path / name).write_text(text)
    return path / name


def read(path: Path, *, ends: str | None = None, names: list[str] | None = None, **roles: Any) -> Transitions:
    roles = {"terminated": None if ends else "left", **roles}
    return read_table(path, columns(**roles), ends=ends, action_names=names)


def assert_columns(found: Transitions, **expected: Any) -> None:
    for name, column in expected.items():
        np.testing.assert_array_equal(getattr(found, name), column, err_msg=name)


def test_a_ward_by_hand(tmp_path: Path) -> None:
    """Kim's rows change places. Ann and Bo stopped coming: their last rows have no successor and are dropped."""
    found = read(written(tmp_path))
    assert found.action_names == ("high", "low", "none")
    assert found.obs.dtype == found.rew.dtype == np.float32
    assert_columns(
        found,
        obs=[[71, 0.25], [72, 0.5], [80, 2.5], [60, 0]],
        act=[0, 1, 1, 1],
        rew=[0, 1, 0, 4],
        terminated=[0, 1, 0, 0],
        truncated=[0, 0, 1, 1],
        rows=[2, 0, 3, 4],
        episode_returns=[1, 0, 12],
    )
    np.testing.assert_array_equal(np.asarray(found.obs_next)[[0, 2, 3]], [[72, 0.5], [90, 1.5], [61, 0]])


def test_without_a_flag_the_key_says_what_the_last_rows_are(tmp_path: Path) -> None:
    path = written(tmp_path)
    assert_columns(read(path, ends="terminated"), terminated=[0, 1, 0, 1, 0, 1], truncated=[0] * 6)
    assert_columns(read(path, ends="truncated"), terminated=[0, 0, 0], truncated=[1, 1, 1], rows=[2, 3, 4])
    found = read(path, ends="terminated", truncated="left")  # Kim was moved elsewhere
    assert_columns(found, terminated=[0, 0, 1, 0, 1], truncated=[1, 0, 0, 0, 0], rows=[2, 3, 1, 4, 5])


@pytest.mark.parametrize(
    "text", [WARD.replace(",", ";"), WARD.replace(",", "\t"), "\ufeff" + WARD, WARD.replace("\n", "\r\n")]
)
def test_a_csv_file_has_many_forms(tmp_path: Path, text: str) -> None:
    found, expected = read(written(tmp_path, text, "other.txt")), read(written(tmp_path))
    assert_columns(found, obs=expected.obs, act=expected.act, rew=expected.rew)


def test_a_csv_file_may_be_compressed(tmp_path: Path) -> None:
    (tmp_path / "ward.csv.gz").write_bytes(gzip.compress(WARD.encode()))
    assert_columns(read(tmp_path / "ward.csv.gz"), rew=[0, 1, 0, 4])


def test_dates_order_rows_and_flags_may_be_words(tmp_path: Path) -> None:
    text = WARD.replace(",1\n", ",True\n").replace(",0\n", ",False\n")
    for hour in (1, 2, 5, 6, 9, 10):
        text = re.sub(rf"^(\w+),{hour},", rf"\1,2026-01-{hour:02d} 12:00,", text, flags=re.M)
    assert_columns(read(written(tmp_path, text)), rew=[0, 1, 0, 4], terminated=[0, 1, 0, 0])


def test_without_times_rows_stand_as_they_are(tmp_path: Path) -> None:
    rows = WARD.splitlines()
    text = "\n".join([rows[0], rows[3], rows[1], rows[4], rows[2], *rows[5:]])
    assert_columns(read(written(tmp_path, text), time=None), rew=[0, 1, 0, 4], rows=[0, 1, 2, 4])


def test_flags_alone_say_where_episodes_end(tmp_path: Path) -> None:
    text = "x,a,r,done,cut\n1,0,1,0,0\n2,1,2,1,0\n3,0,4,0,0\n4,1,8,0,1\n"
    roles = {"obs": "x", "act": "a", "rew": "r", "episode": None, "time": None, "terminated": "done"}
    found = read(written(tmp_path, text), truncated="cut", **roles)
    assert_columns(found, obs=[[1], [2], [3]], act=[0, 1, 0], terminated=[0, 1, 0], truncated=[0, 0, 1])
    assert_columns(found, episode_returns=[3, 12])


def test_several_actions_and_fractions_are_continuous(tmp_path: Path) -> None:
    path = written(tmp_path)
    assert_columns(read(path, obs="hour", act=["pulse", "fever"]), act=[[71, 0.25], [72, 0.5], [80, 2.5], [60, 0]])
    assert_columns(read(path, obs="hour", act="fever"), act=[[0.25], [0.5], [2.5], [0]])
    found = read(path, obs="hour", act="pulse")
    assert (found.act.dtype, found.action_names) == (np.int64, None)


def test_names_may_be_stated_and_numbers_be_names(tmp_path: Path) -> None:
    names = ["none", "low", "mid", "high"]
    found = read(written(tmp_path), names=names)
    assert_columns(found, act=[3, 1, 1, 1], action_names=tuple(names))
    found = read(written(tmp_path), obs="hour", act="pulse", names=["60", "61", "71", "72", "80", "90"])
    assert_columns(found, act=[2, 3, 4, 0])


def test_numbers_in_names_count_by_their_value(tmp_path: Path) -> None:
    text = WARD.replace("high", "dose 10").replace("low", "dose 9").replace("none", "dose 09")
    assert read(written(tmp_path, text)).action_names == ("dose 09", "dose 9", "dose 10")


MASKED = """\
id,x,dose,level,r,may high,may none,may low,mask_1,mask_0
1,0,low,0,0,0,1,1,0,1
1,1,none,1,1,1,1,0,1,0
"""


def test_masks_belong_to_the_actions_that_their_columns_are_called_by(tmp_path: Path) -> None:
    path = written(tmp_path, MASKED)
    roles = {"obs": "x", "act": "dose", "rew": "r", "episode": "id", "time": None}
    found = read(path, ends="terminated", mask="may *", **roles)
    assert found.action_names == ("high", "none", "low")
    assert_columns(found, act=[2, 1], mask=[[0, 1, 1], [1, 1, 0]])
    found = read(path, ends="terminated", mask="may *", names=["none", "low", "high"], **roles)
    assert_columns(found, act=[1, 0], mask=[[1, 1, 0], [1, 0, 1]])
    found = read(path, ends="terminated", mask="mask_*", **{**roles, "act": "level"})
    assert_columns(found, act=[0, 1], mask=[[1, 0], [0, 1]])


@pytest.mark.parametrize(
    ("old", "new", "roles", "said"),
    [
        ("", "", {"act": "doses"}, r"columns\.act: no column doses; found: patient, .*; did you mean dose\?"),
        ("", "", {"obs": "pul"}, r"columns\.obs: no column pul; .*; did you mean pul\*\?"),
        ("", "", {"obs": ["pulse", "pul*"]}, r"columns\.obs: pulse is there twice"),
        ("", "", {"rew": "*"}, r"columns\.rew: patient, .* are several columns; one is allowed"),
        ("", "", {"obs": ["pulse", "better"]}, r"better is among both dataset\.columns\.obs and dataset\.columns\.rew"),
        ("71", "fast", {}, "pulse row 2 is 'fast'; allowed: " + NUMBERS),
        ("71", "", {}, r"pulse row 2 is empty; allowed: .* \(bad rows in all: 1\)"),
        ("0.25", "inf", {}, "fever row 2 is 'inf'; allowed: finite numbers"),
        ("71,0.25", ",1e60", {}, r"pulse row 2 is empty; .*\(bad rows in all: 1; fever has 1\)"),
        (",high", ",", {}, "dose row 2 is empty; allowed: actions"),
        ("71", "NA", {}, "pulse row 2 is 'NA'; allowed: finite numbers"),
        ("fever,dose", "pulse,dose", {"obs": "pulse"}, r"columns\.obs: pulse is there twice"),
        (WARD[WARD.index("\n") + 1 :], "", {}, "has no rows; at least one is needed"),
        (
            "low,1,1\nann",
            "3,1,1\nann",
            {},
            "dose row 1 is 'none'; allowed: actions, all of them numbers or all of them",
        ),
        ("", "", {"act": "fever", "obs": "dose"}, "dose row 0 is 'low'; allowed: .*write categories as columns"),
        ("kim,1", ",1", {}, "patient row 2 is empty; allowed: an id in each row"),
        ("kim,1", "kim,soon", {}, "hour row 2 is 'soon'; allowed: finite numbers, or dates"),
        ("0,0\nann", "0,2\nann", {}, "left row 2 is '2'; allowed: 0 or 1"),
        ("kim,1", "kim,2", {}, r"patient kim has the same hour in rows 0 and 2 \(such rows in all: 1\)"),
        ("", "", {"time": None}, r"patient kim returns in row 2, behind .* all: 2\); give dataset\.columns\.time"),
        ("high,0,0", "high,0,1", {}, r"left is 1 in row 2, but episode kim goes on in row 0 .* last row only"),
        ("bo,6,61,0,none", "bo,6,61,0", {}, "not a readable CSV or Parquet file, truncated or damaged .*7 columns"),
    ],
)
def test_a_fault_is_one_line(tmp_path: Path, old: str, new: str, roles: dict[str, Any], said: str) -> None:
    path = written(tmp_path, WARD.replace(old, new) if old else WARD)
    with pytest.raises(ValueError, match=f"ward.csv: .*{said}") as error:
        read(path, **roles)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"mask": ["may low", "may none", "may high"]}, r"dose: nothing says which .*, such as may_low"),
        ({"mask": ["may low"], "names": ["none", "low"]}, "may low: columns of masks for 0, and the actions are none"),
        ({"mask": "ma*", "names": ["none", "low"]}, r"ma\*: columns of masks for y high, .*there must be one for each"),
        ({"names": ["none", "high"]}, r"dose: low: no action by dataset\.action_names; allowed: none, high"),
        ({"names": ["none", "low", "low"]}, "an action's name is there twice in none, low, low"),
    ],
)
def test_masks_and_names_that_do_not_fit(tmp_path: Path, keys: dict[str, Any], said: str) -> None:
    roles = {"obs": "x", "act": "dose", "rew": "r", "episode": "id", "time": None}
    with pytest.raises(ValueError, match=said):
        read(written(tmp_path, MASKED), ends="terminated", **roles, **keys)


def test_a_table_of_many_batches_is_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files that are read in pieces, and columns that lie in mapped files, since they are large."""
    whole = read(written(tmp_path))
    arrow.write(tmp_path / "ward.parquet", [plain_columns(WARD)])
    monkeypatch.setattr(arrow, "BLOCK", 64)
    monkeypatch.setattr(arrow, "BATCH", 2)
    monkeypatch.setattr(storage, "SHARE", 0)
    monkeypatch.setenv("BCQ_EXP_CACHE", str(tmp_path / "cache"))
    for name in ("ward.csv", "ward.parquet"):
        found = read(tmp_path / name)
        assert is_mapped(found.obs)
        names = ("obs", "obs_next", "act", "rew", "terminated", "truncated", "rows", "episode_returns")
        assert_columns(found, **{name: getattr(whole, name) for name in names}, action_names=whole.action_names)
    assert list((tmp_path / "cache").iterdir()) == []


def plain_columns(text: str) -> dict[str, list[Any]]:
    names, *rows = (line.split(",") for line in text.splitlines())
    made = dict(zip(names, map(list, zip(*rows, strict=True)), strict=True))
    numbers = {name: [float(value) for value in made[name]] for name in ("hour", "pulse", "fever", "better", "left")}
    return made | numbers


COLUMNS = {"obs": "x", "act": "a", "rew": "r", "episode": "id"}


def test_what_a_configuration_lacks_is_said_before_the_file_is_read() -> None:
    cfg = composed("dataset=table", "dataset.path=ward.csv")
    with pytest.raises(ValueError, match=r"dataset\.columns\.act has no value; give one: dataset\.columns\.act="):
        checked_dataset(cfg)
    for columns, keys, said in (
        ({}, {}, "nothing says whether the last row of an episode reached its end; give columns.terminated=COLUMN"),
        ({"terminated": "d"}, {"ends": "truncated"}, "columns.terminated=d and ends=truncated both say"),
        ({}, {"ends": "over"}, "dataset.ends=over is none of terminated, truncated"),
        ({"truncated": "c"}, {"ends": "truncated"}, "columns.truncated=c has nothing to add to ends=truncated"),
        ({"episode": None}, {"ends": "terminated"}, "columns.episode is null, so columns.terminated and"),
        ({"episode": None, "terminated": "d", "truncated": "c", "time": "t"}, {}, "columns.episode is null; give both"),
        ({"reward": "r"}, {"ends": "terminated"}, "dataset.columns.reward is not a key of TableColumns"),
        ({"obs": []}, {"ends": "terminated"}, "columns.obs=[]: give a column's name"),
        ({"mask": 3}, {"ends": "terminated"}, "columns.mask=3: give a column's name, or a list of names"),
    ):
        wrong = cfg.copy()
        OmegaConf.update(wrong, "dataset", {"columns": {**COLUMNS, **columns}, **keys}, force_add=True)
        with pytest.raises(ValueError, match=re.escape(said)):
            checked_dataset(wrong)
