"""Processes as a user starts them, each with its children, and their end by SIGKILL."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Self

import psutil

ROOT = Path(__file__).parents[2]  # of the code that is tried: this checkout's, whatever is installed
WITNESS = Path(__file__).parent / "witness"
WITNESS_SECONDS = 0.05  # at most, between the question for a stack and the kill

# What a stack shows of a phase, a function of a file or any of it; the first phase that is found counts.
PHASES = {
    "checkpoint": ("checkpoint.py:save_checkpoint", "training_state.py:save"),
    "evaluation": ("evaluation.py",),
    "collection": ("collection.py", "training.py:learn"),
    "end": ("trainer.py:_finish", "report.py", "sweep.py:write_csv", "training.py:write"),
    "updates": ("trainer.py:run", "supervision.py"),
}
START = "start-up"


class Hang(Exception):
    """A process that did not end in its time."""


class Process:
    """A command in a session of its own.

    Args:
        arguments: of Python, `-m bcq_exp.train ...`.
        folder: where it is started; `cache` in it is its cache of datasets.
        output: a file that its output is appended to.
        env: further variables.
    """

    def __init__(
        self, arguments: Sequence[str], folder: Path, output: Path, env: Mapping[str, str] | None = None
    ) -> None:
        self.witness = output.with_suffix(".stacks")
        self.witness.mkdir(exist_ok=True)
        own = {"OMP_NUM_THREADS": "1", "WANDB_MODE": "offline", "BCQ_EXP_CACHE": str(folder / "cache")}
        paths = os.pathsep.join(filter(None, (str(WITNESS), str(ROOT), os.environ.get("PYTHONPATH"))))
        seen = {"PYTHONPATH": paths, "BCQ_EXP_WITNESS": str(self.witness)}
        with output.open("ab") as file:
            self.popen = subprocess.Popen(
                [sys.executable, *arguments],
                cwd=folder,
                env={**os.environ, **own, **seen, **(env or {})},
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.output, self.start = output, time.monotonic()
        self.spared: list[psutil.Process] = []  # children that outlived a kill

    @property
    def seconds(self) -> float:
        """Since the start."""
        return time.monotonic() - self.start

    def has_ended(self) -> bool:
        """Whether the process is over; its children may live on."""
        return self.popen.poll() is not None

    def wait(self, seconds: float) -> int:
        """Wait for its end; return the exit status.

        Raises:
            Hang: it did not end in these seconds, and was killed.
        """
        try:
            return self.popen.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            raise Hang(f"no end after {seconds:.0f} s: {self.said()}") from None

    def said(self) -> str:
        """The last line of its output."""
        lines = self.output.read_text(errors="replace").split("\n")
        return next((line.strip() for line in reversed(lines) if line.strip()), "nothing was said")

    def kill(self, *, spares_children: bool = False) -> str:
        """Kill it, with all its children or alone.

        Returns:
            The phase that it was in, `PHASES` or start-up.
        """
        children = self._children()
        phase = self._phase([self.popen.pid, *(child.pid for child in children)])
        self.popen.kill()
        if spares_children:
            self.spared = children
        else:
            for child in (*children, *self._children()):
                with suppress(psutil.NoSuchProcess):
                    child.kill()
            with suppress(ProcessLookupError):  # those that were started since
                os.killpg(self.popen.pid, signal.SIGKILL)
            psutil.wait_procs(children)
        self.popen.wait()
        return phase

    def _children(self) -> list[psutil.Process]:
        try:
            return psutil.Process(self.popen.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            return []

    def _phase(self, pids: Sequence[int]) -> str:
        files = [path for pid in pids if (path := self.witness / str(pid)).exists()]
        for path in files:
            with suppress(ProcessLookupError):
                os.kill(int(path.name), signal.SIGRTMIN)
        deadline, before = time.monotonic() + WITNESS_SECONDS, [0] * len(files)
        while time.monotonic() < deadline:
            sizes = [path.stat().st_size for path in files]
            if all(sizes) and sizes == before:
                break
            before = sizes
            time.sleep(0.001)
        return phase_of("".join(path.read_text(errors="replace") for path in files))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if not self.has_ended():
            self.kill()


def phase_of(stacks: str) -> str:
    """The phase that stacks show, as `faulthandler` writes them; imports belong to the start."""
    frames = re.findall(r'File "(?:.*/)?(.*)", line \d+ in (.*)', stacks)
    found = {mark for file, function in frames if function != "<module>" for mark in (file, f"{file}:{function}")}
    return next((phase for phase, marks in PHASES.items() if found & {*marks}), START)


def files_of(folder: Path) -> dict[Path, int]:
    """List all files and folders below a folder, with the times of their last changes in nanoseconds."""
    found: dict[Path, int] = {}
    for parent, folders, files in os.walk(folder):
        for name in (*folders, *files):
            path = Path(parent, name)
            with suppress(OSError):  # it is gone by now
                found[path] = path.stat().st_mtime_ns
    return found


def changed(folder: Path, pattern: str) -> Callable[[], bool]:
    """Make a function that tells whether a path of this pattern has appeared or changed since now."""
    before = {path: at for path, at in files_of(folder).items() if path.match(pattern)}
    return lambda: any(path.match(pattern) and before.get(path) != at for path, at in files_of(folder).items())
