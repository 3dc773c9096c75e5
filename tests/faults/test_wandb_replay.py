"""A run that is killed and resumed is in W&B with each row once, every figure that of `metrics.csv`."""

import os
import signal
from pathlib import Path

import pytest

from bcq_exp.io.checkpoint import common_checkpoints
from bcq_exp.io.files import read_json
from processes import SMALL, begin, give, num_rows, on_file, wait_for
from wandb_files import logged_rows, wandb_history
from wandb_server import WandbServer


def killed_and_resumed(folder: Path, data: Path, *kills: int) -> str:
    """What the last process said, which trains the run to its end; one before it is killed at each number of rows."""
    words = [*SMALL, *on_file(data), "logger=wandb", "log_freq=10"]
    for num_before in kills:
        process = begin(folder, "train", *words)
        wait_for(
            lambda rows=num_before: common_checkpoints([folder / "run"]) and num_rows(folder / "run") >= rows, process
        )
        words = ["resume=run"]
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
    code, said = give(folder, "train", "resume=run")
    assert code == 0, said
    return said


def test_offline_the_last_process_writes_one_file_of_all_rows(
    tmp_path: Path, discrete_file: Path, monkeypatch: pytest.MonkeyPatch
):
    pytest.importorskip("wandb")
    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("WANDB_MODE", "offline")
    said = killed_and_resumed(tmp_path, discrete_file, 25)
    run_dir = tmp_path / "run"
    (path,) = run_dir.glob("wandb/offline-run-*/*.wandb")
    assert len(logged_rows(run_dir)) == 60
    assert wandb_history(path) == logged_rows(run_dir)
    assert f"bcq-report {run_dir}" in said
    assert f"see `wandb leet {run_dir}/wandb`, upload with `bcq-dashboard sync {run_dir}`" in said


def test_online_the_server_is_sent_what_it_lacks(tmp_path: Path, discrete_file: Path, wandb_server: WandbServer):
    killed_and_resumed(tmp_path, discrete_file, 25, 45)
    run_dir = tmp_path / "run"
    (run,) = wandb_server.runs.values()
    assert read_json(run_dir / "wandb.json")["run_id"] == run.name
    assert run.metrics == logged_rows(run_dir)
    assert (run.state, len(run.metrics), run.lines_sent) == ("finished", 60, 60)
    assert not list(run_dir.glob("wandb/offline-run-*"))
