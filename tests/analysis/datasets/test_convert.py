import hashlib
from pathlib import Path

import h5py
import numpy as np
import pytest

from bcq_exp.analysis.datasets.convert import convert, main
from bcq_exp.analysis.datasets.sources import Source
from bcq_exp.data import Transitions, read_h5, read_manifest, read_transitions, write_h5
from cases import random_walk

COLUMNS = ("obs", "act", "rew", "terminated", "truncated", "obs_next", "episode_returns")


def assert_same(found: Transitions, expected: Transitions) -> None:
    for key in COLUMNS:
        np.testing.assert_array_equal(getattr(found, key), getattr(expected, key), strict=True)


def archive(path: Path) -> Path:
    """Two episodes: terminated, and with a time limit, whose last row counts for its return alone."""
    np.savez(
        path,
        observations=np.arange(10, dtype=np.uint8).reshape(5, 2),
        actions=np.array([0, 1, 0, 1, 0]),
        rewards=2.0 ** np.arange(5),
        terminals=np.array([0, 1, 0, 0, 0]),
        timeouts=np.array([0, 0, 0, 0, 1]),
    )
    return path


def test_a_converted_dataset_is_the_one_that_was_read(tmp_path: Path) -> None:
    path, out = archive(tmp_path / "in.npz"), tmp_path / "out.h5"
    assert convert(Source(path), out, "CartPole-v1") == (4, {})
    found = read_h5(out)
    assert_same(found, read_transitions(path))
    np.testing.assert_array_equal(found.episode_returns, [3, 28])
    manifest = read_manifest(out)
    assert manifest["converted_from"] == "in.npz"
    assert manifest["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    with h5py.File(out) as file:
        assert file.attrs["env"] == "CartPole-v1"


def test_the_environment_is_the_recorded_one_unless_typed(tmp_path: Path) -> None:
    write_h5(tmp_path / "in.h5", random_walk(2, is_discrete=True), "CartPole-v1", {})
    for number, (typed, expected) in enumerate([(None, "CartPole-v1"), ("Other-v0", "Other-v0")]):
        convert(Source(tmp_path / "in.h5"), tmp_path / f"{number}.h5", typed)
        with h5py.File(tmp_path / f"{number}.h5") as file:
            assert file.attrs["env"] == expected


def test_without_an_environment_none_is_kept(tmp_path: Path) -> None:
    convert(Source(archive(tmp_path / "in.npz")), tmp_path / "out.h5", None)
    with h5py.File(tmp_path / "out.h5") as file:
        assert "env" not in file.attrs
    assert len(read_h5(tmp_path / "out.h5")) == 4


@pytest.mark.parametrize("name", ["in.npz", "new.npz", "absent/out.h5", "old.h5"])
def test_a_name_that_cannot_be_written_is_refused_before_any_work(tmp_path: Path, name: str) -> None:
    (tmp_path / "old.h5").write_bytes(b"kept")
    with pytest.raises(
        ValueError, match=f"{name}: give the name of a new .h5, .csv or .parquet file in a folder that exists"
    ):
        convert(Source(tmp_path / "not read at all"), tmp_path / name, "CartPole-v1")
    assert (tmp_path / "old.h5").read_bytes() == b"kept"


def test_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, out = archive(tmp_path / "in.npz"), tmp_path / "out.h5"
    main([str(path), str(out), "--env", "CartPole-v1"])
    assert capsys.readouterr().out == f"4 transitions are written to {out}\n"
    with pytest.raises(ValueError, match=r"out\.h5: give the name of a new"):
        main([str(path), str(out), "--env", "CartPole-v1"])


def test_a_time_limit_that_the_file_does_not_say_is_typed(tmp_path: Path) -> None:
    columns = dict(np.load(archive(tmp_path / "in.npz")))
    del columns["timeouts"]
    np.savez(tmp_path / "in.npz", **columns)
    with pytest.raises(ValueError, match=r"in\.npz: missing dataset timeouts or .*max_episode_steps=0"):
        main([str(tmp_path / "in.npz"), str(tmp_path / "a.h5"), "--env", "CartPole-v1"])
    main([str(tmp_path / "in.npz"), str(tmp_path / "a.h5"), "--env", "CartPole-v1", "--max-episode-steps", "3"])
    np.testing.assert_array_equal(read_h5(tmp_path / "a.h5").truncated, [0, 0, 0, 1])


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_a_table_is_written_and_read_with_the_columns_that_are_printed(
    tmp_path: Path, suffix: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path, out = archive(tmp_path / "in.npz"), tmp_path / f"out{suffix}"
    main([str(path), str(out)])
    first, second = capsys.readouterr().out.splitlines()
    assert first == f"4 transitions are written to {out}"
    columns = second.removeprefix("columns: '").removesuffix("'")
    main([str(out), str(tmp_path / "back.h5"), "--columns", columns])
    found, expected = read_h5(tmp_path / "back.h5"), read_transitions(path)
    for key in ("act", "rew", "terminated", "truncated"):
        np.testing.assert_array_equal(getattr(found, key), getattr(expected, key), strict=True)
    np.testing.assert_array_equal(found.obs, expected.obs)  # floats, where they were bytes
    np.testing.assert_array_equal(found.episode_returns, [3, 12])  # the dropped row's reward is in no row
    with pytest.raises(ValueError, match=r"new\.csv: a table keeps no environment"):
        convert(Source(path), tmp_path / "new.csv", "CartPole-v1")
