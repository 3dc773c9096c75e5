"""A folder that cannot be written ends a command with one line that names it; once it can, the command resumes."""

from pathlib import Path

import pytest

from processes import SMALL, give, on_file, read_only, result
from trained import on_file as typed_for
from trained import train_run


def test_a_run_whose_folder_cannot_be_written_any_more(tmp_path: Path, discrete_file: Path):
    typed = [*SMALL, *on_file(discrete_file)]
    assert give(tmp_path, "train", *typed)[0] == 0
    whole, run_dir = result(tmp_path / "run"), tmp_path / "run"
    newest = max((run_dir / "checkpoints").iterdir())
    for file in newest.iterdir():
        file.unlink()
    newest.rmdir()
    with read_only(run_dir / "checkpoints"):
        code, said = give(tmp_path, "train", "resume=run")
    assert code == 1
    line = said.splitlines()[-1]
    assert line.startswith(f"error: {run_dir / 'checkpoints'}")
    assert line.endswith(": read-only file system; make it writable, or choose another directory")
    code, said = give(tmp_path, "train", "resume=run")
    assert code == 0, said
    assert result(run_dir) == whole


def test_a_report_and_an_evaluation(tmp_path: Path, discrete_file: Path):
    run_dir = train_run(tmp_path / "sweep" / "run", *typed_for(discrete_file))
    asked = [f"run={run_dir}", "ope=fqe", "num_updates=10", "target_update_freq=5", "compile=never"]
    with read_only(tmp_path / "sweep"):
        code, said = give(tmp_path, "report", str(tmp_path / "sweep"))
        curves = tmp_path / "sweep" / "learning_curves.png"
        assert code == 1
        assert said == f"error: {curves}: read-only file system; make it writable, or choose another directory\n"
        code, said = give(tmp_path, "evaluate", *asked)
        assert code == 1
        assert f"error: {run_dir / 'ope.json'}: read-only file system; make it writable" in said
    assert give(tmp_path, "report", str(tmp_path / "sweep"))[0] == 0
    assert give(tmp_path, "evaluate", *asked)[0] == 0


def test_a_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("BCQ_EXP_CACHE", str(tmp_path / "cache"))
    typed = ["dataset=cartpole-noisy", "dataset.num_transitions=300", "hydra.run.dir=out"]
    with read_only(tmp_path / "cache"):
        code, said = give(tmp_path, "collect", *typed)
        assert code == 1
        assert said.splitlines()[-1].startswith(f"error: cache file {tmp_path / 'cache'}")
        assert "Read-only file system" in said
        assert said.splitlines()[-1].endswith("set BCQ_EXP_CACHE to a folder that can be written")
    assert give(tmp_path, "collect", *typed)[0] == 0
