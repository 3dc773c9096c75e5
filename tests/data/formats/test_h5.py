import dataclasses
import os
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bcq_exp.data import Transitions, read_h5, read_manifest, read_transitions, write_h5
from cases import read_cut

COLUMNS = ("obs", "act", "rew", "terminated", "truncated", "obs_next", "episode_returns", "mask", "mask_next")
MANIFEST = {"seed": 3, "behaviour": {"epsilon": 0.2}}


@pytest.fixture
def transitions() -> Transitions:
    rng = np.random.default_rng(0)
    return Transitions(
        obs=rng.normal(size=(50, 3)).astype(np.float32),
        act=rng.integers(2, size=50),
        rew=rng.normal(size=50).astype(np.float32),
        terminated=np.arange(50) % 10 == 9,
        truncated=np.arange(50) == 14,
        obs_next=rng.normal(size=(50, 3)).astype(np.float32),
        # One recorded row more than there are transitions, hence not the sums of `rew`.
        episode_returns=rng.normal(size=6),
        mask=rng.random((50, 2)) < 0.5,
        mask_next=rng.random((50, 2)) < 0.5,
        source="made here",
    )


def columns(transitions: Transitions) -> dict[str, Any]:
    return {key: column for key in COLUMNS if (column := getattr(transitions, key)) is not None}


def assert_same(found: Transitions, expected: Transitions) -> None:
    assert columns(found).keys() == columns(expected).keys()
    for key, column in columns(expected).items():
        np.testing.assert_array_equal(getattr(found, key), column, strict=True)


@pytest.mark.parametrize("is_masked", [True, False])
@pytest.mark.parametrize("is_continuous", [True, False])
def test_reading_gives_what_was_written(
    tmp_path: Path, transitions: Transitions, is_masked: bool, is_continuous: bool
) -> None:
    if not is_masked:
        transitions = dataclasses.replace(transitions, mask=None, mask_next=None)
    if is_continuous:
        transitions = dataclasses.replace(transitions, act=transitions.obs[:, :2], act_next=transitions.obs[:, 1:])
    path = tmp_path / "data.h5"
    write_h5(path, transitions, "CartPole-v1", MANIFEST)
    found = read_h5(path)
    assert_same(found, transitions)
    assert found.source == str(path)
    assert read_manifest(path) == MANIFEST
    with h5py.File(path) as file:
        assert (file.attrs["format"], file.attrs["version"], file.attrs["env"]) == ("bcq_exp", 1, "CartPole-v1")


def test_same_content_gives_same_bytes(tmp_path: Path, transitions: Transitions) -> None:
    write_h5(tmp_path / "a.h5", transitions, "CartPole-v1", {"a": 1, "b": 2})
    time.sleep(1.1)  # HDF5 time stamps count seconds
    write_h5(tmp_path / "b.h5", transitions, "CartPole-v1", {"b": 2, "a": 1})
    assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "b.h5").read_bytes()


def test_failed_write_leaves_the_old_file_and_no_other(tmp_path: Path, transitions: Transitions) -> None:
    path = tmp_path / "data.h5"
    write_h5(path, transitions, "CartPole-v1", MANIFEST)
    broken = dataclasses.replace(transitions, mask_next=np.array([object()]))
    with pytest.raises(TypeError):
        write_h5(path, broken, "CartPole-v1", MANIFEST)
    assert os.listdir(tmp_path) == ["data.h5"]
    assert_same(read_h5(path), transitions)


def test_returns_are_summed_where_the_file_has_none(tmp_path: Path, transitions: Transitions) -> None:
    path = tmp_path / "data.h5"
    write_h5(path, transitions, "CartPole-v1", MANIFEST)
    with h5py.File(path, "a") as file:
        del file["episode_returns"]
    rew = transitions.rew.astype(np.float64)
    bounds = [(0, 10), (10, 15), (15, 20), (20, 30), (30, 40), (40, 50)]
    np.testing.assert_allclose(read_h5(path).episode_returns, [rew[i:j].sum() for i, j in bounds], rtol=1e-12)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("format", "other", "root attribute format is other; allowed: bcq_exp"),
        ("format", np.arange(3), r"root attribute format is \[0 1 2\]; allowed: bcq_exp"),
        ("version", 2, "root attribute version is 2; allowed: 1"),
        ("manifest", "{", "manifest is no JSON object"),
        ("manifest", "[1]", "manifest is no JSON object"),
    ],
)
def test_bad_root_attribute(tmp_path: Path, transitions: Transitions, key: str, value: Any, message: str) -> None:
    path = tmp_path / "data.h5"
    write_h5(path, transitions, "CartPole-v1", MANIFEST)
    with h5py.File(path, "a") as file:
        file.attrs[key] = value
    with pytest.raises(ValueError, match=f"data.h5: .*{message}"):
        read_manifest(path)


def test_bad_value_names_file_column_and_row(tmp_path: Path, transitions: Transitions) -> None:
    path = tmp_path / "data.h5"
    transitions.rew[[17, 20]] = np.nan
    write_h5(path, transitions, "CartPole-v1", MANIFEST)
    with pytest.raises(ValueError, match=r"data\.h5: rew row 17 is nan; .*in all: 2"):
        read_h5(path)


def test_group_in_place_of_a_column(tmp_path: Path, transitions: Transitions) -> None:
    path = tmp_path / "data.h5"
    write_h5(path, transitions, "CartPole-v1", MANIFEST)
    with h5py.File(path, "a") as file:
        del file["act"]
        file.create_group("act")
    with pytest.raises(ValueError, match=r"data\.h5: missing dataset act"):
        read_h5(path)


def test_missing_file_and_folder_in_its_place(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"absent\.h5: no such file"):
        read_h5(tmp_path / "absent.h5")
    with pytest.raises(ValueError, match="not a readable HDF5 file"):
        read_h5(tmp_path)


def test_damaged_compressed_rows(tmp_path: Path, transitions: Transitions) -> None:
    path = tmp_path / "data.h5"
    write_h5(path, transitions, "CartPole-v1", MANIFEST)
    with h5py.File(path) as file:
        chunk = file["obs"].id.get_chunk_info(0)
    content = bytearray(path.read_bytes())
    content[chunk.byte_offset : chunk.byte_offset + chunk.size] = bytes(chunk.size)
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"data\.h5: not a readable HDF5 file, truncated or damaged"):
        read_h5(path)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_file_cut_anywhere_is_refused_or_right(tmp_path: Path, transitions: Transitions, data: st.DataObject) -> None:
    path = tmp_path / "whole.h5"
    if not path.exists():
        write_h5(path, transitions, "CartPole-v1", MANIFEST)
    found = read_cut(path, read_h5, data)
    if found is not None:
        assert_same(found, transitions)


def test_a_file_that_is_made_in_memory_as_the_disk_is_nearly_full_has_the_same_bytes(
    transitions: Transitions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    write_h5(tmp_path / "roomy.h5", transitions, "CartPole-v1", MANIFEST)
    monkeypatch.setattr("bcq_exp.data.formats.h5.shutil.disk_usage", lambda folder: SimpleNamespace(free=2**20))
    write_h5(tmp_path / "nearly_full.h5", transitions, "CartPole-v1", MANIFEST)
    assert (tmp_path / "nearly_full.h5").read_bytes() == (tmp_path / "roomy.h5").read_bytes()


def test_names_of_actions_are_kept_and_damaged_ones_refused(tmp_path: Path, transitions: Transitions) -> None:
    path = tmp_path / "data.h5"
    write_h5(path, dataclasses.replace(transitions, action_names=("stay", "go")), None, {})
    for read in (read_h5, read_transitions):
        assert read(path).action_names == ("stay", "go")
    for wrong in ("[1, 2]", "{", "{}", 3):
        with h5py.File(path, "a") as file:
            file.attrs["action_names"] = wrong
        with pytest.raises(ValueError, match=r"data\.h5: root attribute action_names is .*; allowed: a JSON list"):
            read_h5(path)


def test_files_without_names_are_as_they_were(tmp_path: Path, transitions: Transitions) -> None:
    write_h5(tmp_path / "data.h5", transitions, "CartPole-v1", MANIFEST)
    with h5py.File(tmp_path / "data.h5") as file:
        assert set(file.attrs) == {"format", "version", "env", "manifest"}
    assert read_h5(tmp_path / "data.h5").action_names is None
