"""Fuzzing: `python -m experiments.faults fuzz --count 10000 --seed 0`.

Worker processes run many cases each, with a memory limit and under a watchdog. A case is right where its input is
accepted, or refused by an error of this package. It fails where it ends in anything else, takes too long, kills its
process, reads the canary variable or leaves a canary's file. `--case configurations:123` runs one case alone, with its
traceback.
"""

import argparse
import contextlib
import multiprocessing
import os
import resource
import shutil
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import Progress
from rich.table import Table

import bcq_exp
from experiments.faults import fuzz_cases

PACKAGE = Path(bcq_exp.__file__).parent
LIMIT = 20.0  # seconds of a case
MEMORY = 4 * 2**30  # bytes that a worker may map beyond what it begins with
SECRET = "SECRET-7f3a"  # the value of the canary variable
ACCEPTED, REFUSED, FAILED = "accepted", "refused", "FAILED"

Case = tuple[str, int]  # kind and number


def outcome(case: Case, seed: int, home: Path) -> tuple[str, str]:
    """Run a case; return how it ends, and why."""
    folder = Path(tempfile.mkdtemp(dir=home))
    text = ""
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(None), contextlib.redirect_stderr(None):
            warnings.simplefilter("ignore")
            fuzz_cases.run_case(*case, seed, folder)
        found = ACCEPTED
    except (ValueError, FileNotFoundError) as error:
        text = f"{type(error).__name__}: {error}"
        found = REFUSED if is_own(error) else FAILED
        if found == FAILED:
            text = traceback.format_exc()
    except BaseException:
        found, text = FAILED, traceback.format_exc()
    shutil.rmtree(folder, ignore_errors=True)
    if SECRET in text:
        return FAILED, f"the canary variable was read: {text}"
    if (home / fuzz_cases.TOUCHED).exists() or fuzz_cases.MODULE in sys.modules:
        (home / fuzz_cases.TOUCHED).unlink(missing_ok=True)
        sys.modules.pop(fuzz_cases.MODULE, None)
        return FAILED, f"a canary was executed\n{text}"
    return found, text if found == FAILED else ""


def is_own(error: BaseException) -> bool:
    """Whether an error was raised by the package itself, not by a library that it calls."""
    code = [frame.f_code.co_filename for frame, _ in traceback.walk_tb(error.__traceback__)]
    return Path(code[-1]).is_relative_to(PACKAGE) or code[-1] == fuzz_cases.__file__


def work(pipe: Connection, seed: int, home: Path) -> None:
    """Run cases and answer with their outcomes, until None is sent; the loop of a worker process."""
    with contextlib.suppress(OSError):
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        limit = pages * resource.getpagesize() + MEMORY
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    while (case := pipe.recv()) is not None:
        pipe.send(outcome(case, seed, home))


@dataclass
class Worker:
    """A process and the case that it runs."""

    process: Any
    pipe: Connection
    case: Case | None = None
    started: float = field(default_factory=time.monotonic)

    @classmethod
    def start(cls, seed: int, home: Path) -> "Worker":
        """Start a worker by fork, with all modules loaded."""
        context = multiprocessing.get_context("fork")
        ours, theirs = context.Pipe()
        process = context.Process(target=work, args=(theirs, seed, home), daemon=True)
        process.start()
        theirs.close()
        return cls(process, ours)

    def give(self, case: Case) -> None:
        """Give the worker a case."""
        self.case, self.started = case, time.monotonic()
        self.pipe.send(case)


def run(
    cases: Sequence[Case], seed: int, home: Path, num_processes: int, limit: float = LIMIT
) -> dict[Case, tuple[str, str]]:
    """Run every case in worker processes and yield its outcome; a worker that hangs or dies is replaced."""
    waiting, found = list(reversed(cases)), dict[Case, tuple[str, str]]()
    workers = [Worker.start(seed, home) for _ in range(min(num_processes, len(cases)))]
    console = Console(stderr=True)
    with Progress(console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task("fuzzing", total=len(cases))
        while len(found) < len(cases):
            for worker in workers:
                if worker.case is None and waiting:
                    worker.give(waiting.pop())
            ready = wait([worker.pipe for worker in workers], timeout=0.5)
            for number, worker in enumerate(workers):
                if worker.case is None:
                    continue
                if worker.pipe in ready:
                    try:
                        found[worker.case] = worker.pipe.recv()
                        worker.case = None
                        continue
                    except EOFError:
                        worker.process.join()
                        found[worker.case] = FAILED, f"its process died with code {worker.process.exitcode}"
                elif time.monotonic() - worker.started > limit:
                    found[worker.case] = FAILED, f"it took more than {limit:g} seconds"
                    worker.process.kill()
                else:
                    continue
                workers[number] = Worker.start(seed, home)
            bar.update(task, completed=len(found))
    for worker in workers:
        worker.pipe.send(None)
        worker.process.join()
    return found


def table(found: dict[Case, tuple[str, str]], seed: int) -> Table:
    """Counts by kind."""
    out = Table(title=f"{len(found)} cases, seed {seed}")
    for column in ("kind", ACCEPTED, REFUSED, FAILED):
        out.add_column(column, justify="left" if column == "kind" else "right")
    for kind in sorted({kind for kind, _ in found}):
        counts = Counter(result for case, (result, _) in found.items() if case[0] == kind)
        out.add_row(kind, *(str(counts[name]) for name in (ACCEPTED, REFUSED, FAILED)))
    return out


@contextlib.contextmanager
def prepared(kinds: Sequence[str]) -> Any:
    """Make a folder with the files that cases start from, as working directory and on Python's module path."""
    before = os.getcwd()
    with tempfile.TemporaryDirectory() as name:
        home = Path(name).resolve()
        os.environ |= {
            fuzz_cases.VARIABLE: SECRET, "WANDB_MODE": "offline", "BCQ_EXP_CACHE": str(home / "cache"),
            "MINARI_DATASETS_PATH": str(home), "D4RL_DATASET_DIR": str(home),
        }  # fmt: skip
        os.chdir(home)
        sys.path.insert(0, str(home))
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                fuzz_cases.prepare(home, kinds)
            yield home
        finally:
            os.chdir(before)
            sys.path.remove(str(home))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run cases and print a table of outcomes; return 1 where any has failed."""
    parser = argparse.ArgumentParser(prog="python -m experiments.faults fuzz", description=__doc__)
    parser.add_argument("--count", type=int, default=10_000, help="cases, of all kinds together")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", choices=sorted(fuzz_cases.KINDS), help="one kind of cases")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--case", help="one case alone, as a failure names it: datasets:17")
    parser.add_argument("--failures", type=Path, default=Path("fuzz-failures.txt"), help="where failures are written")
    options = parser.parse_args(arguments)
    failures = options.failures.absolute()
    kinds = [options.only] if options.only else sorted(fuzz_cases.KINDS)
    cases = [(kinds[number % len(kinds)], number // len(kinds)) for number in range(options.count)]
    if options.case:
        kind, _, number = options.case.partition(":")
        kinds, cases = [kind], [(kind, int(number))]
    with prepared(kinds) as home:
        found = run(cases, options.seed, home, options.processes)
    Console().print(table(found, options.seed))
    failed = {case: text for case, (result, text) in sorted(found.items()) if result == FAILED}
    if failed:
        lines = [f"--case {kind}:{number} --seed {options.seed}\n{text}\n" for (kind, number), text in failed.items()]
        failures.write_text("\n".join(lines))
        print(f"{len(failed)} failed: {failures}\n\n{lines[0]}")
    return int(bool(failed))


if __name__ == "__main__":
    raise SystemExit(main())
