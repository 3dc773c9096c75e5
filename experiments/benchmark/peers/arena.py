"""Contestants as processes that work in turn, so that a slow hour of the machine slows all of them."""

import json
import os
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from bcq_exp.engine.waiting import CALM, PERIOD, SETTINGS

ROOT = Path(__file__).parents[3]
RATE_SECONDS = 0.3
CALIBRATION = 10  # updates that tell how many fill a block
SETTLE = (CALM + 2) * PERIOD  # seconds after which our threads wait for each other as they do where none else works
THREADING = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", *SETTINGS)  # of the caller; contestants do not see them


class ContestantFailed(Exception):
    """The error of a contestant's process, in one line."""


@dataclass(frozen=True)
class Contestant:
    """One way to do the work.

    Args:
        name: as tables show it.
        command: that starts its process.
        is_peer: whether ours are compared with it.
        members: trained by each of its updates.
        precision: of its matrix products; names the floor that it is held against.
        overrides: of the configuration, for it alone.
        options: that only its process reads.
    """

    name: str
    command: tuple[str, ...]
    is_peer: bool
    members: int = 1
    precision: str = "fp32"
    overrides: tuple[str, ...] = ()
    options: dict[str, Any] = field(default_factory=dict)


class Worker:
    """A contestant's process.

    Args:
        command: that starts it.
        num_threads: of OpenMP in it; None for what its libraries choose.

    Raises:
        ContestantFailed: there is no such program.
    """

    def __init__(self, command: Sequence[str], num_threads: int | None) -> None:
        self.stderr = tempfile.TemporaryFile("w+")  # noqa: SIM115 - lives as long as the process
        env = {name: value for name, value in os.environ.items() if name not in THREADING}
        if num_threads is not None:
            env["OMP_NUM_THREADS"] = str(num_threads)
        pipe = subprocess.PIPE
        try:
            self.process = subprocess.Popen(
                command, stdin=pipe, stdout=pipe, stderr=self.stderr, text=True, cwd=ROOT, env=env
            )
        except OSError as error:
            raise ContestantFailed(f"{error.strerror}: {command[0]}") from None

    def send(self, request: dict[str, Any]) -> None:
        """Send a request; `receive` waits for the answer."""
        assert self.process.stdin is not None
        with suppress(BrokenPipeError):  # `receive` says why
            print(json.dumps(request), file=self.process.stdin, flush=True)

    def receive(self) -> dict[str, Any]:
        """Wait for the answer to the oldest open request.

        Raises:
            ContestantFailed: the answer is an error, or the process ended without one.
        """
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            status = self.process.wait()
            self.stderr.seek(0)
            said = [text for text in self.stderr.read().splitlines() if text.strip()]
            raise ContestantFailed(said[-1].strip() if said else f"its process ended with status {status}")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise ContestantFailed(answer["error"])
        return answer

    def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        """Send a request and wait for the answer."""
        self.send(request)
        return self.receive()

    def close(self) -> None:
        """Close its input and wait for its end."""
        with suppress(BrokenPipeError):
            self.process.communicate()
        self.stderr.close()


@dataclass
class Timing:
    """A contestant's timings in one case at one number of threads.

    Args:
        contestant: who.
        title: of the case.
        num_threads: of torch; None for what a run chooses.
        facts: what it said of itself.
        block: updates of a round.
        seconds: an update took in each round.
        rates: FLOP/s of matrix products in each round, where it measures them.
        error: why it has none.
    """

    contestant: Contestant
    title: str
    num_threads: int | None
    facts: dict[str, Any] = field(default_factory=dict)
    block: int = 0
    seconds: list[float] = field(default_factory=list)
    rates: list[float] = field(default_factory=list)
    error: str | None = None

    @property
    def ms(self) -> list[float]:
        """Milliseconds an update and member, of each round."""
        return [1e3 * seconds / self.contestant.members for seconds in self.seconds]


def compete(
    timings: Sequence[Timing], work_of: Callable[[Contestant], dict[str, Any]], *, rounds: int, seconds: float
) -> None:
    """Prepare all contestants, then run a block of updates of each in turn. A contestant that fails drops out.

    Where there are several, each works for `SETTLE` seconds before its block: our threads still sleep then, as they do
    where others work.

    Args:
        timings: filled in place.
        work_of: the fields of a contestant's `Work`.
        rounds: blocks of each; every second round goes in the opposite order.
        seconds: of a block, about.
    """
    workers: dict[int, Worker] = {}

    def attempt(index: int, step: Callable[[Timing, Worker], None]) -> None:
        try:
            step(timings[index], workers[index])
        except ContestantFailed as failure:
            timings[index].error = str(failure)
            workers.pop(index).close()

    def prepared(timing: Timing, worker: Worker) -> None:
        timing.facts = worker.receive()

    def calibrated(timing: Timing, worker: Worker) -> None:
        taken = worker.ask({"updates": CALIBRATION})["seconds"]
        timing.block = max(1, round(seconds * CALIBRATION / max(taken, 1e-9)))

    def timed(timing: Timing, worker: Worker) -> None:
        if len(timings) > 1:
            worker.ask({"seconds": SETTLE})
        taken = worker.ask({"updates": timing.block})["seconds"]
        if "flop" in timing.facts:
            timing.rates.append(worker.ask({"rate": RATE_SECONDS})["rate"])
        timing.seconds.append(taken / timing.block)

    for index, timing in enumerate(timings):
        try:
            workers[index] = Worker(timing.contestant.command, timing.num_threads)
            workers[index].send({"prepare": {**work_of(timing.contestant), "threads": timing.num_threads}})
        except ContestantFailed as failure:
            timing.error = str(failure)
    try:
        for number, step in enumerate((prepared, calibrated, *[timed] * rounds)):
            for index in sorted(workers, reverse=number % 2 == 1):
                attempt(index, step)
    finally:
        for worker in workers.values():
            worker.close()


def median(values: Sequence[float]) -> float | None:
    """The median; None where there are no values."""
    return float(np.median(values)) if values else None
