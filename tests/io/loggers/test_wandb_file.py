"""The offline file of a run holds what is in its directory, and W&B's own program reads it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from bcq_exp.io.files import write_json
from bcq_exp.io.loggers.form import LoggedRun
from bcq_exp.io.loggers.wandb_file import BLOCK, HEADER, Labels, joined, split, write_offline_run
from wandb_files import wandb_history, wandb_records, wandb_values

LABELS = Labels(
    run_id="a1b2c3d4", entity="team", project="mine", group="3f2a", job_type="bcq", name="bcq seed 3",
    tags=("paper", "first"), began=1_700_000_000,
)  # fmt: skip
ROWS = "update,train/loss,eval/return\n10,0.1,\n20,nan,7.5\n30,-inf,8.25\n"


def run_of(run_dir: Path, rows: str = ROWS, **summary: object) -> LoggedRun:
    run_dir.mkdir(exist_ok=True)
    (run_dir / "metrics.csv").write_text(rows)
    if summary:
        write_json(run_dir / "summary.json", summary)
    config = {"algorithm": {"name": "bcq", "lmbda": 0.75}, "seed": 3, "long": "x" * 3 * BLOCK}
    manifest = {
        "dataset": {"sha256": "ab" * 32, "behaviour_return": -150.5},
        "git_revision": "1234abcd",
        "command": "python -m bcq_exp.train 'a key=b c'",
    }
    return LoggedRun(run_dir, "bcq seed 3", "3f2a", "bcq", config, manifest)


def written(run: LoggedRun) -> Path:
    (path,) = write_offline_run(run, LABELS).glob("*.wandb")
    return path


def test_the_file_has_names_configuration_rows_and_figures(tmp_path: Path) -> None:
    ended = {"status": "finished", "num_updates": 30, "final_return": 8.25, "failed_at": None}
    run = run_of(tmp_path / "run", **ended, updates_per_second=10.0)
    path = written(run)
    records = list(wandb_records(path))
    begun = next(record.run for record in records if record.HasField("run"))
    assert (begun.run_id, begun.entity, begun.project, begun.run_group) == ("a1b2c3d4", "team", "mine", "3f2a")
    assert (begun.job_type, begun.display_name, list(begun.tags)) == ("bcq", "bcq seed 3", ["paper", "first"])
    assert begun.git.commit == "1234abcd"
    assert wandb_values(begun.config.update) == {**run.config, "data": run.manifest["dataset"]}
    environment = next(record.environment for record in records if record.HasField("environment"))
    assert list(environment.args) == ["-m", "bcq_exp.train", "a key=b c"]
    assert repr(wandb_history(path)) == repr(
        [
            {"update": 10, "train/loss": 0.1},
            {"update": 20, "train/loss": float("nan"), "eval/return": 7.5},
            {"update": 30, "train/loss": -float("inf"), "eval/return": 8.25},
        ]
    )
    assert [record.history.step.num for record in records if record.HasField("history")] == [10, 20, 30]
    metrics = [record.metric for record in records if record.HasField("metric")]
    x_axes = {metric.name or metric.glob_name: metric.step_metric for metric in metrics}
    assert x_axes == {"update": "", "*": "update"}
    (figures,) = [wandb_values(record.summary.update) for record in records if record.HasField("summary")]
    assert figures == {
        "update": 30, "train/loss": -float("inf"), "eval/return": 8.25, "behaviour_return": -150.5,
        "status": "finished", "num_updates": 30, "final_return": 8.25, "perf/updates_per_second": 10.0,
        "last_10_return": (7.5 + 8.25) / 2,
    }  # fmt: skip
    (end,) = [record.exit for record in records if record.HasField("exit")]
    assert (end.exit_code, end.runtime) == (0, 3)


@pytest.mark.parametrize(("status", "code"), [("finished", 0), ("pruned", 0), ("failed", 1), (None, 1)])
def test_a_run_that_failed_or_has_not_ended_is_failed_in_wandb(tmp_path: Path, status: str | None, code: int) -> None:
    path = written(run_of(tmp_path / "run", **({} if status is None else {"status": status})))
    assert [record.exit.exit_code for record in wandb_records(path) if record.HasField("exit")] == [code]


def test_wandbs_own_program_reads_it(tmp_path: Path) -> None:
    path = written(run_of(tmp_path / "run", status="finished"))
    command = [sys.executable, "-m", "wandb", "leet", "inspect", "--json", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line["type"] for line in lines] == [
        "header", "run", "environment", "metric", "metric", "history", "history", "history", "summary", "exit",
    ]  # fmt: skip
    assert lines[1]["run"]["config"]["update"]["long"] == "x" * 3 * BLOCK
    assert [line["history"]["item"]["update"] for line in lines if line["type"] == "history"] == [10, 20, 30]


@pytest.mark.parametrize("size", [0, 1, BLOCK - 30, BLOCK - 21, BLOCK - 20, BLOCK - 14, BLOCK - 13, BLOCK, 3 * BLOCK])
def test_records_are_whole_wherever_a_block_ends(size: int) -> None:
    records = [b"a" * size, b"", b"bc", b"d" * size]
    content = joined(records)
    assert content[:7] == HEADER == b":W&B\xe1\xbe\x00"
    assert list(split(content)) == records
    assert list(split(content[:-1])) == records[:3]


def test_a_killed_runs_last_row_that_was_cut_is_left_out(tmp_path: Path) -> None:
    path = written(run_of(tmp_path / "run", ROWS + "40,0."))
    assert [row["update"] for row in wandb_history(path)] == [10, 20, 30]


@pytest.mark.parametrize("rows", ["", "update,train/loss,eval/return\n"])
def test_a_run_without_rows_has_a_file_without_rows(tmp_path: Path, rows: str) -> None:
    path = written(run_of(tmp_path / "run", rows))
    assert wandb_history(path) == []
    assert any(record.HasField("run") for record in wandb_records(path))


def test_damage_is_named(tmp_path: Path) -> None:
    run = run_of(tmp_path / "run", ROWS.replace("0.1", "o.1"))
    with pytest.raises(ValueError, match=r"metrics\.csv was damaged .*resume=.*run writes it anew"):
        write_offline_run(run, LABELS)


def test_what_a_kill_left_of_the_same_run_is_set_aside(tmp_path: Path) -> None:
    run = run_of(tmp_path / "run")
    for name in ("offline-run-20200101_000000-a1b2c3d4", "offline-run-20200101_000001-other"):
        (run.run_dir / "wandb" / name).mkdir(parents=True)
        (run.run_dir / "wandb" / name / "run.wandb").write_bytes(HEADER)  # what the first seconds leave
    path = written(run)
    assert len(wandb_history(path)) == 3
    left = sorted(folder.name for folder in (run.run_dir / "wandb").glob("offline-run-*"))
    assert left == ["offline-run-20200101_000001-other", path.parent.name]
    assert os.listdir(run.run_dir / "wandb" / "earlier") == ["offline-run-20200101_000000-a1b2c3d4"]


def test_it_is_uploaded_again_only_where_its_content_has_changed(tmp_path: Path) -> None:
    run = run_of(tmp_path / "run")
    path = written(run)
    before = path.read_bytes()
    mark = path.with_suffix(".wandb.synced")
    mark.touch()
    assert written(run) == path
    assert path.read_bytes() == before
    assert mark.exists()
    assert written(run_of(tmp_path / "run", ROWS + "40,0.5,\n")) == path
    assert len(wandb_history(path)) == 4
    assert not mark.exists()
