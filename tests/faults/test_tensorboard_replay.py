"""TensorBoard shows each row of a killed run once after the run resumes, as `metrics.csv` has it."""

import csv
import os
import signal
from pathlib import Path

import numpy as np
import pytest

from bcq_exp.io.checkpoint import common_checkpoints
from event_files import scalars
from processes import SMALL, begin, give, num_rows, on_file, wait_for


def test_every_row_is_shown_once(tmp_path: Path, discrete_file: Path):
    pytest.importorskip("tensorboard")
    typed = [*SMALL, *on_file(discrete_file), "logger=tensorboard", "log_freq=10"]
    process = begin(tmp_path, "train", *typed)
    run_dir = tmp_path / "run"
    wait_for(lambda: common_checkpoints([run_dir]) and num_rows(run_dir) >= 25, process)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    assert len(scalars(run_dir)["train/loss"]) > 20  # rows after the checkpoint of update 200 were there

    code, said = give(tmp_path, "train", "resume=run")
    assert code == 0, said
    with (run_dir / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 60
    written = {
        name: [(int(row["update"]), np.float32(row[name])) for row in rows if row[name]] for name in rows[0]
    }  # event files have 32 bits a value
    assert scalars(run_dir) == {name: values for name, values in written.items() if values and name != "update"}
