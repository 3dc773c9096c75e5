"""The protocol of a contestant's process: a line of JSON in, a line of JSON out.

    {"prepare": {...}}    the fields of `Work`, and `threads`: of torch, or null for its own choice; answered by facts
                          about the contestant
    {"updates": k}        answered by {"updates": k, "seconds": ...}, the device's work included
    {"seconds": s}        of updates, as many as fit; answered in the same way
    {"rate": s}           seconds of measuring; answered by {"rate": ...}, FLOP/s of matrix products in this process

Every answer may be {"error": ...} instead. This module needs torch and numpy, not this package: it runs in the peers'
environment too.
"""

import json
import math
import os
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from experiments.benchmark.machine import matrix_rate, wait

WARM_UP = 10  # updates before the first that is timed


@dataclass(frozen=True)
class Work:
    """The work of a contestant.

    Args:
        config: the composed configuration of our own run, from which every contestant takes sizes and numbers.
        data: npz file of the transitions.
        num_actions: discrete actions, or dimensions of a continuous one in [-1, 1].
        options: of this contestant alone.
    """

    config: dict[str, Any]
    data: str
    num_actions: int
    options: dict[str, Any]

    @property
    def device(self) -> str:
        """As torch names it."""
        return str(self.config["device"])

    @property
    def is_discrete(self) -> bool:
        """Whether the algorithm is discrete BCQ."""
        return bool(self.config["algorithm"]["name"] == "discrete_bcq")

    @property
    def is_image(self) -> bool:
        """Whether observations are bytes for the Nature CNN."""
        return bool(self.config["network"]["kind"] == "nature_cnn")

    def columns(self) -> dict[str, NDArray[Any]]:
        """Read the transitions."""
        with np.load(self.data) as file:
            return dict(file)


def save(path: Path, columns: Mapping[str, NDArray[Any]]) -> None:
    """Write the file that `Work.columns` reads."""
    arrays: dict[str, Any] = dict(columns)
    np.savez(path, **arrays)


IsOver = Callable[[], bool]


def repeat(update: Callable[[], object], num_updates: int, is_over: IsOver) -> int:
    """Make so many updates, or fewer where `is_over` after one of them; returns how many."""
    for number in range(num_updates):
        update()
        if is_over():
            return number + 1
    return num_updates


@dataclass(frozen=True)
class Prepared:
    """A contestant that is ready.

    Args:
        advance: makes so many updates of all members, or fewer where the function says that time is over; returns how
            many it made.
        packages: whose versions the table names.
        facts: further facts for the parent.
    """

    advance: Callable[[int, IsOver], int]
    packages: tuple[str, ...]
    facts: dict[str, Any]


def summary(error: BaseException) -> str:
    """An error in one line."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__


def timed(
    prepared: Prepared, device: str, *, updates: int = sys.maxsize, seconds: float = math.inf
) -> dict[str, float]:
    """Make so many updates, or as many as fit into the time; how many, and the seconds they took."""
    start = time.perf_counter()
    made = prepared.advance(updates, lambda: time.perf_counter() - start >= seconds)
    wait(device)
    return {"updates": made, "seconds": time.perf_counter() - start}


def serve(prepare: Callable[[Work], Prepared]) -> None:
    """Answer the parent until it closes the pipe; what libraries print goes to stderr."""
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", buffering=1)
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    work: Work
    prepared: Prepared
    for line in sys.stdin:
        request = json.loads(line)
        answer: dict[str, Any]
        try:
            if "prepare" in request:
                if (num_threads := request["prepare"].pop("threads")) is not None:
                    torch.set_num_threads(num_threads)
                work = Work(**request["prepare"])
                prepared = prepare(work)
                prepared.advance(WARM_UP, lambda: False)
                wait(work.device)
                versions = {name: version(name) for name in (*prepared.packages, "torch", "numpy")}
                answer = {"versions": versions, **prepared.facts}
            elif "rate" in request:
                answer = {"rate": matrix_rate(work.device, work.config["precision"], request["rate"])}
            else:
                answer = timed(prepared, work.device, **request)
        except Exception as error:  # the parent makes a row of it
            answer = {"error": summary(error)}
        print(json.dumps(answer), file=answers)
