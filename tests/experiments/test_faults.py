"""The driver of faults: which files differ, which rows W&B has, and how processes are ended."""

import json
import struct
import time
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import psutil
import pytest
from omegaconf import OmegaConf

from bcq_exp.behaviours.training import BehaviourConfig
from bcq_exp.training.config import check
from bcq_exp.training.datasets import checked_dataset
from cases import composed
from experiments.faults.kills import Tally, grid, report
from experiments.faults.processes import PHASES, START, Hang, Process, changed, phase_of
from experiments.faults.remains import differences, lost_wandb_rows, wandb_records
from experiments.faults.results import write_section
from experiments.faults.scenarios import SCENARIOS


def left(folder: Path, *, took: float = 1.5, command: str = "whole") -> Path:
    """The files of a run, in small."""
    checkpoint = folder / "run" / "checkpoints" / "update_00000010"
    checkpoint.mkdir(parents=True)
    (checkpoint / "tensors.safetensors").write_bytes(b"weights")
    state = {"version": 1, "state": {"seconds": took, "learner": {"num_updates": 10}}}
    (checkpoint / "state.json").write_text(json.dumps(state))
    (folder / "run" / "metrics.csv").write_text("update,train/loss\n10,0.5\n")
    (folder / "run" / "train.log").write_text(f"{took}")
    facts = {"command": command, "dataset": {"source": f"{folder}/data.h5", "sha256": "0f"}}
    (folder / "run" / "manifest.json").write_text(json.dumps(facts))
    summary = {"final_return": 9.5, "updates_per_second": 10 / took}
    (folder / "run" / "summary.json").write_text(json.dumps(summary))
    (folder / "sweep.csv").write_text(f"final_return,updates_per_second\n9.5,{10 / took}\n")
    with h5py.File(folder / "data.h5", "w") as file:
        file["obs"], file.attrs["manifest"] = np.arange(3.0), command
    return folder


def rewrite(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def test_times_logs_and_commands_make_no_difference(tmp_path: Path) -> None:
    assert not differences(left(tmp_path / "a"), left(tmp_path / "b", took=7.0, command="resume=run"))


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("run/metrics.csv", "0.5", "0.50"),
        ("run/summary.json", "9.5", "9.6"),
        ("run/checkpoints/update_00000010/tensors.safetensors", "weights", "Weights"),
        ("run/checkpoints/update_00000010/state.json", '"num_updates": 10', '"num_updates": 11'),
        ("run/manifest.json", "0f", "1f"),
        ("sweep.csv", "9.5", "9.6"),
    ],
)
def test_any_other_difference_is_named(tmp_path: Path, name: str, old: str, new: str) -> None:
    whole, broken = left(tmp_path / "a"), left(tmp_path / "b")
    rewrite(broken / name, old, new)
    assert differences(whole, broken) == [f"differs: {name}"]


def test_a_column_of_another_type_is_a_difference(tmp_path: Path) -> None:
    whole, broken = left(tmp_path / "a"), left(tmp_path / "b")
    with h5py.File(broken / "data.h5", "w") as file:
        file["obs"] = np.arange(3.0, dtype=np.float32)
    assert differences(whole, broken) == ["differs: data.h5"]


def test_missing_and_leftover_files_are_named(tmp_path: Path) -> None:
    whole, broken = left(tmp_path / "a"), left(tmp_path / "b")
    (broken / "run" / "summary.json").rename(broken / "run" / ".summary.json.1f")
    (broken / "run" / "checkpoints" / ".partial").mkdir()
    assert differences(whole, broken) == [
        "missing: run/summary.json",
        "left behind: run/.summary.json.1f",
        "left behind: run/checkpoints/.partial",
    ]


def logged(*records: bytes) -> bytes:
    """W&B's file: LevelDB's log, a record in parts where a block of 32 KiB ends in it."""
    data = b":W&B" + bytes(3)
    for record in records:
        start = True
        while True:
            room = 32768 - len(data) % 32768
            if room < 7:
                data += bytes(room)
                continue
            part, record = record[: room - 7], record[room - 7 :]
            kind = (1 if not record else 2) if start else (4 if not record else 3)
            data += struct.pack("<IHB", 0, len(part), kind) + part
            start = False
            if not record:
                break
    return data


def test_records_of_wandb_are_read_across_blocks_and_end_where_a_killed_process_ended() -> None:
    records = [b"a" * 10, b"b" * 70_000, b"c" * 32_740, b"d"]
    data = logged(*records)
    assert list(wandb_records(data)) == records
    assert list(wandb_records(data[:-1])) == records[:-1]
    assert list(wandb_records(data[:50_000])) == records[:1]


def history(update: int, **metrics: float) -> bytes:
    pb = pytest.importorskip("wandb.proto.wandb_internal_pb2")
    record = pb.Record()
    for key, value in {"update": update, **metrics}.items():
        item = record.history.item.add()
        item.nested_key.append(key)
        item.value_json = json.dumps(value)
    content: bytes = record.SerializeToString()
    return content


def test_a_row_that_no_file_of_wandb_has_is_named_and_rows_are_taken_together(tmp_path: Path) -> None:
    for name in ("run", "elsewhere"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "metrics.csv").write_text("update,loss,return\n10,0.5,\n20,nan,3.0\n30,0.1,\n")
    (tmp_path / "run" / "wandb.json").write_text("{}")  # the other one was not logged there
    for number, records in enumerate([[history(10, loss=0.5)], [history(20, loss=0.25, **{"return": 3.0})]]):
        folder = tmp_path / "run" / "wandb" / f"offline-run-{number}"
        folder.mkdir(parents=True)
        (folder / "run-x.wandb").write_bytes(logged(*records))
    assert lost_wandb_rows(tmp_path) == ["W&B lacks updates of run: 20, 30"]
    (tmp_path / "run" / "metrics.csv").write_text("update,loss,return\n10,0.5,\n20,0.25,3.0\n40,nan,\n")
    assert lost_wandb_rows(tmp_path) == ["W&B lacks updates of run: 40"]
    (folder / "run-x.wandb").write_bytes(logged(*records, history(40, loss=float("nan"))))
    assert lost_wandb_rows(tmp_path) == []


FAMILY = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(100)"])
print(child.pid, flush=True)
time.sleep(100)
"""


def started(tmp_path: Path) -> tuple[Process, psutil.Process]:
    process = Process(["-c", FAMILY], tmp_path, tmp_path / "said.log")
    while not (said := (tmp_path / "said.log").read_text()).endswith("\n"):
        time.sleep(0.01)
    return process, psutil.Process(int(said))


def test_a_kill_ends_all(tmp_path: Path) -> None:
    process, child = started(tmp_path)
    process.kill()
    assert process.has_ended()
    assert not child.is_running() or child.status() == psutil.STATUS_ZOMBIE


@pytest.mark.parametrize(("name", "phase"), [("evaluation.py", "evaluation"), ("other.py", START)])
def test_the_stack_of_a_killed_process_names_its_phase(tmp_path: Path, name: str, phase: str) -> None:
    (tmp_path / name).write_text("import time\ndef evaluate():\n    print(1, flush=True)\n    time.sleep(100)\n")
    process = Process(["-c", f"import {name[:-3]} as module; module.evaluate()"], tmp_path, tmp_path / "said.log")
    while not (tmp_path / "said.log").read_text():
        time.sleep(0.01)
    assert process.kill() == phase


@pytest.mark.parametrize(
    ("frames", "phase"),
    [
        (["replace in save_checkpoint", "checkpoint.py in save_checkpoint", "trainer.py in run"], "checkpoint"),
        (["checkpoint.py in load_checkpoint", "trainer.py in resume", "train.py in prepare"], START),
        (["evaluation.py in evaluate", "trainer.py in _events", "trainer.py in run"], "evaluation"),
        (["evaluation.py in <module>", "train.py in <module>"], START),
        (["population.py in advance", "trainer.py in run"], "updates"),
        (["trainer.py in _finish", "trainer.py in run"], "end"),
        (["training_state.py in save", "training.py in _on_step", "training.py in learn"], "checkpoint"),
        (["training.py in learn", "replay.py in make"], "collection"),
    ],
)
def test_the_innermost_work_names_the_phase(frames: list[str], phase: str) -> None:
    lines = ['  File "/x/bcq_exp/{}", line 7 in {}'.format(*frame.split(" in ")) for frame in frames]
    assert phase_of("\n".join(["Current thread 0x1 (most recent call first):", *lines])) == phase


def test_children_may_outlive_a_kill(tmp_path: Path) -> None:
    process, child = started(tmp_path)
    process.kill(spares_children=True)
    assert process.spared == [child]
    assert child.status() != psutil.STATUS_ZOMBIE
    child.kill()


def test_a_process_that_hangs_is_killed_and_its_last_line_told(tmp_path: Path) -> None:
    process, child = started(tmp_path)
    with pytest.raises(Hang, match=str(child.pid)):
        process.wait(0.01)
    assert process.has_ended()


def test_an_event_is_a_path_that_comes_or_changes(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "metrics.csv").write_text("update\n")
    row, checkpoint = changed(tmp_path, "metrics.csv"), changed(tmp_path, "checkpoints/update_*")
    assert not row()
    (tmp_path / "run" / "checkpoints").mkdir()
    assert not checkpoint()
    (tmp_path / "run" / "checkpoints" / "update_00000010").mkdir()
    assert checkpoint()
    time.sleep(0.01)
    (tmp_path / "run" / "metrics.csv").write_text("update\n10\n")
    assert row()


@pytest.mark.parametrize("name", SCENARIOS)
def test_every_scenario_is_a_configuration_that_passes_its_check(name: str) -> None:
    scenario = SCENARIOS[name]
    plain = {"seed=0,1,2": "seed=0", "-m": ""}
    typed = [plain.get(override, override) for override in scenario.overrides if not override.startswith("hydra.")]
    cfg = composed(*filter(None, typed), config="config" if scenario.module == "train" else "collect")
    if scenario.module == "train":
        check(cfg)
    elif "behaviour" in name:
        section: Any = OmegaConf.to_container(cfg.behaviour, resolve=True)
        assert BehaviourConfig(**section).agents == {"cartpole": None, "early": 15}
    else:
        checked_dataset(cfg)


def test_single_runs_are_resumed_once_they_have_begun_and_all_else_is_typed_again(tmp_path: Path) -> None:
    single, sweep = SCENARIOS["bcq"], SCENARIOS["population"]
    assert single.following(tmp_path) == single.command
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "manifest.json").touch()
    assert single.following(tmp_path) == ("-m", "bcq_exp.train", "resume=run")
    assert sweep.following(tmp_path) == sweep.command
    assert [name for name, scenario in SCENARIOS.items() if scenario.is_spread] == ["submitit"]


def test_the_report_counts_kills_by_phase() -> None:
    tallies = [Tally(SCENARIOS["bcq"], runs=2, different=1, littered=2), Tally(SCENARIOS["legs"], runs=3, lost=1)]
    tallies[0].phases.update({"updates": 3, START: 1})
    tallies[1].phases.update({"collection": 2})
    tallies[1].faults.append("legs, seed 0: exit 1; see /kept")
    assert grid(tallies).header[:3] == ("scenario", "kills", START)
    assert grid(tallies).rows[0] == (SCENARIOS["bcq"].title, "4", "1", "0", "0", "0", "0", "3", "2", "0", "1", "2")
    text = "\n".join(report(tallies, how="Measured."))
    assert "6 kills (1 in start-up, 0 in checkpoint, 0 in evaluation, 2 in collection, 0 in end, 3 in updates)" in text
    assert "of 5 runs: 1 lost, 1 different, 2 with a file left behind." in text
    assert text.endswith("- legs, seed 0: exit 1")  # the folder is this machine's
    assert len(PHASES) == 5


def test_a_section_takes_the_place_of_the_one_of_its_title_and_leaves_the_others(tmp_path: Path) -> None:
    path = tmp_path / "reliability.md"
    write_section(path, "Kills", ["first", "| a |"])
    write_section(path, "Fuzzing", ["10,000 cases"])
    write_section(path, "Kills", ["second"])
    assert path.read_text() == "# Reliability\n\n## Kills\n\nsecond\n\n## Fuzzing\n\n10,000 cases\n"
