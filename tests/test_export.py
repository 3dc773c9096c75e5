"""The entry point as its user runs it: real processes."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from bcq_exp.io.files import read_json
from trained import on_file, train_run


def command(cwd: Path, *words: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "bcq_exp.export", *words], cwd=cwd, capture_output=True, text=True, timeout=300
    )


def test_a_run_is_written_as_onnx_and_the_lines_that_run_it_are_printed(tmp_path: Path, discrete_file: Path):
    pytest.importorskip("onnxruntime")
    train_run(tmp_path / "run", *on_file(discrete_file))
    done = command(tmp_path, "run=run")
    assert (done.returncode, done.stderr) == (0, "")
    first, _, *lines = done.stdout.splitlines()
    assert first == "run/policy.onnx: acts as the policy in 400 rows; policy.onnx.json describes it"
    assert [line.strip() for line in lines] == read_json(tmp_path / "run" / "policy.onnx.json")["usage"]
    shutil.rmtree(tmp_path / "run" / "checkpoints")
    done = command(tmp_path, "run=run", "format=torch")
    assert done.returncode == 1
    assert done.stderr.endswith("run has no checkpoint, so there is no policy in it; resume=run writes one\n")
    assert not (tmp_path / "run" / "policy.pt2").exists()
