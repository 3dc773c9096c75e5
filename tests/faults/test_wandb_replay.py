"""Rows that W&B had not yet on disk when a run was killed are in its files after the run resumes."""

import csv
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from bcq_exp.io.checkpoint import common_checkpoints
from processes import SMALL, begin, give, num_rows, on_file, wait_for
from wandb_files import wandb_records, wandb_values


def history(path: Path) -> list[dict[str, Any]]:
    """The rows of one offline file, in its order."""
    found = [wandb_values(record.history.item) for record in wandb_records(path) if record.HasField("history")]
    return [{key: value for key, value in row.items() if not key.startswith("_")} for row in found]


def kept_by_the_server(files: list[Path]) -> list[dict[str, Any]]:
    """The rows of files that are uploaded one after the other: W&B drops those whose step is not larger."""
    kept: list[dict[str, Any]] = []
    for row in [row for file in files for row in history(file)]:
        if not kept or row["update"] > kept[-1]["update"]:
            kept.append(row)
    return kept


def test_every_row_is_there_once(tmp_path: Path, discrete_file: Path, monkeypatch: pytest.MonkeyPatch):
    pytest.importorskip("wandb")
    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("WANDB_MODE", "offline")
    typed = [*SMALL, *on_file(discrete_file), "logger=wandb", "log_freq=10"]
    process = begin(tmp_path, "train", *typed)
    run_dir = tmp_path / "run"
    wait_for(lambda: common_checkpoints([run_dir]) and num_rows(run_dir) >= 25, process)
    os.killpg(process.pid, signal.SIGKILL)  # W&B's own process as well
    process.communicate()
    (first,) = run_dir.glob("wandb/offline-run-*/*.wandb")
    assert len(history(first)) < 20  # of those before the checkpoint; the last 32 KiB were in no file

    code, said = give(tmp_path, "train", "resume=run")
    assert code == 0, said
    files = sorted(run_dir.glob("wandb/offline-run-*/*.wandb"), key=lambda path: path.parent.name)
    assert len({path.name for path in files}) == 1  # the same run
    assert len(files) == 2
    with (run_dir / "metrics.csv").open(newline="") as file:
        rows = [{key: float(value) for key, value in row.items() if value} for row in csv.DictReader(file)]
    assert len(rows) == 60
    assert history(files[-1]) == rows  # the last file alone holds them all
    assert kept_by_the_server(files) == rows
