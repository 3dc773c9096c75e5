"""Seconds and memory that a sweep takes before it trains: `python -m experiments.benchmark.sweep_start`.

Each row is a process of its own that runs the training command up to its first update. It starts; composes and checks
each job; plans the groups, for which it reads, checks and hashes the dataset and measures the memory of two small
populations a program; and begins: it writes each job's directory, with a manifest and its configuration. Seconds of the
processor stand beside those of the clock, and memory is the most that the process has held so far.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
from rich.console import Console
from rich.table import Table

from bcq_exp.data import Transitions, write_h5
from bcq_exp.sweeps import launch, sweep
from bcq_exp.sweeps.executors.in_process import InProcess
from bcq_exp.train import main as train
from experiments.benchmark.cases import CASES
from experiments.benchmark.machine import machine
from experiments.benchmark.storage import closed

NUM_JOBS = (100, 1_000, 10_000)
PHASES = ("start", "compose and check", "plan", "begin")
TENTHS = ",".join(f"0.{tenth}" for tenth in range(10))


def words(num_programs: int, num_jobs: int) -> list[str]:
    """The words of a sweep whose jobs can train in one program, or in one of 20."""
    if num_programs == 1:
        return [f"seed=range({num_jobs // 10})", f"algorithm.unlikely_action_threshold={TENTHS}"]
    return [f"seed=range({num_jobs // 20})", "batch_size=32,64,128,256,512",
            "algorithm.target_update_freq=100,1000,4000,8000"]  # fmt: skip


def measure(typed: list[str]) -> None:
    """Run the training command, and print its marks at the end of each phase in place of the first update."""
    marks: list[dict[str, float]] = []

    def mark() -> None:
        clock, used = time.time() - psutil.Process().create_time(), resource.getrusage(resource.RUSAGE_SELF)
        marks.append({"clock": clock, "processor": used.ru_utime + used.ru_stime, "bytes": 1024 * used.ru_maxrss})

    def marked(call: Callable[..., Any], *, is_end: bool = False) -> Callable[..., Any]:
        def marking(*args: Any, **keys: Any) -> Any:
            mark()
            made = call(*args, **keys)
            if is_end:
                mark()
            return made

        return marking

    def end(*_: Any) -> list[str]:
        mark()
        print(json.dumps(marks))
        raise SystemExit

    launch.Launch = marked(launch.Launch)  # type: ignore[misc]
    sweep.plan = marked(sweep.plan, is_end=True)
    InProcess.run = end  # type: ignore[method-assign]
    sys.argv = ["train", "-m", *typed]
    train()


def row(num_programs: int, num_jobs: int, data: Path) -> list[dict[str, float]]:
    """The marks of a sweep, measured in a process of its own."""
    with tempfile.TemporaryDirectory(dir=data.parent) as folder:
        typed = ["dataset=h5", f"dataset.path={data}", "dataset.env=CartPole-v1", "num_updates=20000",
                 f"hydra.sweep.dir={folder}/sweep", *words(num_programs, num_jobs)]  # fmt: skip
        command = [sys.executable, "-m", "experiments.benchmark.sweep_start", "--command", *typed]
        run = subprocess.run(command, check=True, capture_output=True, text=True, env=os.environ)
        if len(list(Path(folder, "sweep").glob("*/manifest.json"))) != num_jobs:
            raise RuntimeError(f"not all of {num_jobs} jobs have begun")
    marks: list[dict[str, float]] = json.loads(run.stdout.splitlines()[-1])
    return marks


def main() -> None:
    """Print a row for each number of programs and of jobs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, nargs="+", default=NUM_JOBS, help="of a sweep, multiples of 100")
    parser.add_argument("--programs", type=int, nargs="+", default=(1, 20), choices=(1, 20), help="of a sweep")
    parser.add_argument("--command", nargs=argparse.REMAINDER, help="measure this one here, and print it as JSON")
    args = parser.parse_args()
    if args.command:
        measure(args.command)
        return
    table = Table(title=f"{machine('cpu')}; seconds of the clock (of the processor)")
    for column in ("jobs", "programs", *PHASES, "before begin", "peak GB before begin", "peak GB"):
        table.add_column(column, justify="right")
    with tempfile.TemporaryDirectory(dir="outputs") as folder:
        data = Path(folder).absolute() / "data.h5"
        write_h5(data, Transitions.from_columns(closed(CASES["discrete-64"].columns()), "random"), "CartPole-v1", {})
        for num_programs in args.programs:
            for num_jobs in args.jobs:
                marks = row(num_programs, num_jobs, data)
                ends = [{"clock": 0.0, "processor": 0.0}, *marks]
                spent = [
                    f"{after['clock'] - before['clock']:.1f} ({after['processor'] - before['processor']:.1f})"
                    for before, after in zip(ends, marks, strict=False)
                ]
                table.add_row(f"{num_jobs:,}", str(num_programs), *spent, f"{marks[2]['clock']:.1f}",
                              *(f"{mark['bytes'] / 1e9:.2f}" for mark in marks[2:4]))  # fmt: skip
    Console(width=150).print(table)


if __name__ == "__main__":
    main()
