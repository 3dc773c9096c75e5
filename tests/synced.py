"""Run directories to be synced, and what W&B's stand-in should have of them afterwards."""

import argparse
import csv
import json
import re
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from bcq_exp.dashboards import sync
from processes import begin
from wandb_server import WandbServer


def clone(run_dir: Path, target: Path, seed: int, num_rows: int) -> Path:
    """A run as `run_dir` left it, with another seed and a `metrics.csv` of `num_rows` rows of figures of its own."""
    shutil.copytree(run_dir, target, ignore=shutil.ignore_patterns("wandb*", "checkpoints"))
    config = target / ".hydra" / "config.yaml"
    config.write_text(yaml.safe_dump(yaml.safe_load(config.read_text()) | {"seed": seed}))
    with (target / "metrics.csv").open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["update", "train/loss", "train/q_loss", "eval/return"])
        for row in range(1, num_rows + 1):
            value = "nan" if row == 3 else repr(seed + row / 7)
            writer.writerow([row * 10, value, repr(row / 3), repr(float(row)) if row % 5 == 0 else ""])
    return target


def rows_of(run_dir: Path) -> list[dict[str, float]]:
    """The rows of `metrics.csv`, without the fields that are empty."""
    with (run_dir / "metrics.csv").open(newline="") as file:
        return [{key: float(value) for key, value in row.items() if value} for row in csv.DictReader(file)]


def run_id(run_dir: Path) -> str:
    return json.loads((run_dir / "wandb.json").read_text())["run_id"]


def synced(capsys: pytest.CaptureFixture[str], *directories: Path, artifacts: bool = False) -> tuple[int, str]:
    """The exit code, and what was printed before the project's address, its lines joined."""
    code = sync.run(argparse.Namespace(directories=list(directories), jobs=3, artifacts=artifacts))
    said = " ".join(capsys.readouterr().out.split())
    return code, re.sub(r" http://127.0.0.1:\d+/stand-in/bcq_exp$", "", said)


def begin_sync(folder: Path, server: WandbServer, *, num_jobs: int, seconds: float) -> subprocess.Popen[str]:
    """The command on the folder `runs`, so many seconds after its fourth question, or where it has ended before."""
    before = len(server.requests)
    process = begin(folder, "dashboard", "sync", "runs", "--jobs", str(num_jobs))
    while len(server.requests) < before + 4 and process.poll() is None:
        time.sleep(0.01)
    time.sleep(seconds)
    return process


def same(found: list[dict[str, Any]], rows: list[dict[str, float]]) -> bool:
    """Whether rows are equal, figure for figure; `nan` is equal to itself."""
    words = [[{key: repr(float(value)) for key, value in row.items()} for row in each] for each in (found, rows)]
    return words[0] == words[1]


def assert_all_there(server: WandbServer, run_dirs: list[Path]) -> None:
    """Each run is there once, each of its rows once, and every figure is that of `metrics.csv`."""
    assert server.unknown == []
    assert sorted(server.runs) == sorted(map(run_id, run_dirs))
    for run_dir in run_dirs:
        run = server.runs[run_id(run_dir)]
        assert same(run.metrics, rows_of(run_dir)), run_dir
        assert [row["_step"] for row in run.history] == [row["update"] for row in run.metrics]
