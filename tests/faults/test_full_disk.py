"""A full disk ends a command with one line, and repeating the command resumes it."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from processes import SMALL, give, on_file, result, small_disk
from trained import on_file as typed_for
from trained import train_run


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    with small_disk(tmp_path / "disk") as path:
        yield path


def fill(disk: Path, left: int) -> Path:
    """A file that leaves so many bytes."""
    status = os.statvfs(disk)
    path = disk / "filler"
    path.write_bytes(b"0" * (status.f_bavail * status.f_frsize - left))
    return path


def left_half_written(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.name.endswith((".partial", ".replaced"))]


@pytest.mark.parametrize("left", [16_384, 40_960])
def test_a_run_goes_on_from_its_last_checkpoint(tmp_path: Path, disk: Path, discrete_file: Path, left: int):
    typed = [*SMALL, *on_file(discrete_file), "log_freq=10"]
    assert give(tmp_path, "train", *typed)[0] == 0
    assert give(disk, "train", *typed, "num_updates=200", "hydra.run.dir=other")[0] == 0  # room for what Hydra writes
    filler = fill(disk, left)
    code, said = give(disk, "train", *typed)
    assert (code, said.count("error: no space left on device while writing")) == (1, 1), said
    assert said.splitlines()[-1].endswith("; free some and give the same command again")
    assert not left_half_written(disk)
    filler.unlink()
    if (disk / "run" / "checkpoints").exists():
        code, said = give(disk, "train", "resume=run")
        assert code == 0, said
        assert result(disk / "run") == result(tmp_path / "run")


def test_a_report_draws_its_curves_when_there_is_room(tmp_path: Path, disk: Path, discrete_file: Path):
    train_run(disk / "run", *typed_for(discrete_file))
    filler = fill(disk, 8192)
    code, said = give(tmp_path, "report", str(disk))
    curves = disk / "learning_curves.png"
    assert code == 1
    assert said == f"error: no space left on device while writing {curves}; free some and give the same command again\n"
    assert not curves.exists()
    assert not left_half_written(disk)
    filler.unlink()
    assert give(tmp_path, "report", str(disk))[0] == 0
    assert curves.exists()


def test_a_collection_is_made_when_there_is_room(tmp_path: Path, disk: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("BCQ_EXP_CACHE", str(disk))
    filler = fill(disk, 16_384)
    typed = ["dataset=cartpole-noisy", "dataset.num_transitions=4000", "hydra.run.dir=out"]
    code, said = give(tmp_path, "collect", *typed)
    assert (code, said.count("error: no space left on device while writing")) == (1, 1), said
    assert not left_half_written(disk)
    filler.unlink()
    code, said = give(tmp_path, "collect", *typed)
    assert code == 0, said


def test_evaluation_writes_its_account_when_there_is_room(tmp_path: Path, disk: Path, discrete_file: Path):
    run_dir = train_run(disk / "run", *typed_for(discrete_file))
    filler = fill(disk, 0)
    typed = [f"run={run_dir}", "ope=fqe", "num_updates=10", "target_update_freq=5", "compile=never"]
    code, said = give(tmp_path, "evaluate", *typed)
    assert code == 1
    line = f"error: no space left on device while writing {run_dir / 'ope.json'};"
    assert said.splitlines()[-1] == f"{line} free some and give the same command again"
    filler.unlink()
    assert give(tmp_path, "evaluate", *typed)[0] == 0


def test_the_disk_is_full_by_its_bytes_not_by_a_mock(disk: Path):
    fill(disk, 0)
    with pytest.raises(OSError, match="No space left on device"):
        (disk / "more").write_bytes(b"0" * 8192)
