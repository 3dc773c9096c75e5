"""Commands in real processes, as their users run them."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from bcq_exp.io.checkpoint import common_checkpoints

SMALL = ("logger=csv", "num_threads=1", "compile=never", "num_updates=600", "eval_freq=300", "eval_episodes=1",
         "checkpoint_freq=200", "log_freq=50", "batch_size=16", "network.hidden_sizes=[8]",
         "hydra.run.dir=run")  # fmt: skip
SIZE = 3 * 2**20  # bytes of a small disk


def on_file(path: Path) -> tuple[str, ...]:
    return ("dataset=h5", f"dataset.path={path}", "dataset.env=CartPole-v1")


def begin(cwd: Path, program: str, *arguments: str) -> subprocess.Popen:
    """A command that has been given, leader of a process group; no signal is ignored in it, as a test runner may."""
    command = [sys.executable, "-m", f"bcq_exp.{program}", *map(str, arguments)]
    return subprocess.Popen(
        command, cwd=cwd, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        start_new_session=True, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )  # fmt: skip


def end(process: subprocess.Popen) -> tuple[int, str]:
    """The exit code of a command, and what it said on stderr: never a traceback."""
    _, said = process.communicate(timeout=300)
    assert "Traceback" not in said, said
    return process.returncode, said


def give(cwd: Path, program: str, *arguments: str) -> tuple[int, str]:
    return end(begin(cwd, program, *arguments))


def wait_for(condition: Callable[[], object], process: subprocess.Popen) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline, "it never came"
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.002)


def num_rows(run_dir: Path) -> int:
    path = run_dir / "metrics.csv"
    return path.read_bytes().count(b"\n") - 1 if path.exists() else 0


def result(run_dir: Path) -> tuple[bytes, bytes]:
    """All rows of a run, and its weights, moments and streams after the last update."""
    (path,) = common_checkpoints([run_dir])[0]
    return (run_dir / "metrics.csv").read_bytes(), (path / "tensors.safetensors").read_bytes()


@contextmanager
def mounted(folder: Path, *options: str) -> Iterator[Path]:
    """A mount at a folder; a test that needs one is skipped where this process may not make it."""
    folder.mkdir(parents=True, exist_ok=True)
    if (
        not hasattr(os, "geteuid")
        or os.geteuid()
        or subprocess.run(["mount", *options, folder], check=False).returncode
    ):
        pytest.skip("this process may not mount")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


def small_disk(folder: Path) -> Iterator[Path]:
    return mounted(folder, "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs")


@contextmanager
def read_only(folder: Path) -> Iterator[Path]:
    """The folder, which nobody can write: permissions would not hold for root."""
    with mounted(folder, "--bind", str(folder)):
        subprocess.run(["mount", "-o", "remount,ro,bind", folder], check=True)
        yield folder
