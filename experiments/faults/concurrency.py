"""Tests of promises: several processes in one directory, full disks, folders that cannot be written."""

import argparse
import os
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from datetime import date
from pathlib import Path

import yaml
from rich.console import Console

from bcq_exp.analysis.grid import Grid
from experiments.benchmark.machine import cpu_model
from experiments.faults.processes import Hang, Process
from experiments.faults.remains import differences
from experiments.faults.results import write_section

TITLE = "Several processes, full and read-only disks"
PATIENCE = 300.0  # seconds that a process may take

# Long enough to be at work when the second one starts.
SHORT = ("num_threads=1", "compile=never", "dataset=cartpole-noisy",
         "dataset.num_transitions=3000", "algorithm.target_update_freq=40", "network.hidden_sizes=[32,32]",
         "num_updates=400", "eval_freq=150", "eval_episodes=5", "log_freq=50", "checkpoint_freq=100")  # fmt: skip
TRAIN = ("-m", "bcq_exp.train", *SHORT)
SWEEP = ("-m", "bcq_exp.train", "-m", *SHORT, "hydra.sweep.dir=sweep")
LARGE = ("network.hidden_sizes=[256,256]", "num_checkpoints=3")  # 3 checkpoints of 1.7 MB
COLLECT = ("-m", "bcq_exp.collect", "dataset=cartpole-noisy", "dataset.num_transitions=20000")

console = Console(stderr=True)


class Skipped(Exception):
    """A fault that this machine cannot make, with the reason."""


def finished(commands: Sequence[Sequence[str]], folder: Path, env: Mapping[str, str] | None = None) -> list[Process]:
    """Start commands at once in one folder and wait for their ends; their output is `said-N.log` beside it."""
    folder.mkdir(parents=True, exist_ok=True)
    first = len(list(folder.parent.glob("said-*.log")))
    logs = [folder.parent / f"said-{first + number}.log" for number in range(len(commands))]
    with ExitStack() as stack:
        started = (Process(command, folder, log, env) for command, log in zip(commands, logs, strict=True))
        processes = [stack.enter_context(process) for process in started]
        for process in processes:
            with suppress(Hang):  # it was killed, which its exit status says
                process.wait(PATIENCE)
    return processes


def alone(command: Sequence[str], folder: Path, env: Mapping[str, str] | None = None) -> list[str]:
    """Run a command undisturbed; return what is wrong, a line each."""
    (process,) = finished([command], folder, env)
    return ended_well(process)


def ended_well(process: Process) -> list[str]:
    """Check a process that should have ended well; return what is wrong, a line each."""
    status = process.popen.returncode
    return [f"exit {status}: {process.said()}"] if status else []


def refused(process: Process, *words: str) -> list[str]:
    """Check a process that should have ended in one message with these words, in upper or lower case."""
    said, status = process.output.read_text(errors="replace"), process.popen.returncode
    found = [] if status == 1 else [f"exit {status}, should be 1: {process.said()}"]
    if "Traceback" in said:
        found.append(f"a traceback: {process.said()}")
    if [line.startswith("error: ") for line in said.splitlines()].count(True) != 1:
        found.append(f"no message that begins with `error: `, or several: {process.said()}")
    message = said.partition("error: ")[2]
    return found + [f"{word!r} is not in: {message.strip()}" for word in words if word.lower() not in message.lower()]


def one_run(work: Path) -> list[str]:
    """Of two equal runs in one directory one trains; the other is refused while that one lives, and harms nothing."""
    command = (*TRAIN, "hydra.run.dir=run")
    found = alone(command, work / "whole")
    first, second = finished([command, command], work / "both")
    winner, other = (first, second) if first.popen.returncode == 0 else (second, first)
    found += ended_well(winner) + refused(other, "run", "another process")
    return found + differences(work / "whole", work / "both")


def two_runs(work: Path) -> list[str]:
    """Of two different runs in one directory one trains; the other is refused, then and later, and harms nothing."""
    commands = [(*TRAIN, f"seed={seed}", "hydra.run.dir=run") for seed in (0, 1)]
    found = [line for seed in (0, 1) for line in alone(commands[seed], work / f"whole-{seed}")]
    processes = finished(commands, work / "both")
    winner = next((seed for seed, process in enumerate(processes) if process.popen.returncode == 0), 0)
    found += ended_well(processes[winner]) + refused(processes[1 - winner], "run")
    found += differences(work / f"whole-{winner}", work / "both")
    (later,) = finished([commands[1 - winner]], work / "both")
    found += refused(later, "seed", str(winner), str(1 - winner))
    return found + differences(work / f"whole-{winner}", work / "both")


def one_second(work: Path) -> list[str]:
    """Two runs that start in one second get two directories, each with its own configuration and results."""
    rates = (0.001, 0.0001)
    commands = [(*TRAIN, f"optimizer.lr={rate}") for rate in rates]
    processes = finished(commands, work / "both")
    found = [line for process in processes for line in ended_well(process)]
    configs = {path.parents[1]: yaml.safe_load(path.read_text()) for path in work.glob("both/**/.hydra/config.yaml")}
    kept = {run_dir: config["optimizer"]["lr"] for run_dir, config in configs.items()}
    if sorted(kept.values()) != sorted(rates):
        found.append(f"directories keep the rates {sorted(kept.values())}, should be {sorted(rates)}")
    for run_dir, rate in kept.items():
        whole = work / f"whole-{rate}"
        found += alone((*TRAIN, f"optimizer.lr={rate}", "hydra.run.dir=run"), whole)
        # A directory's summary says what was typed, which names the directory in one case only.
        found += [line for line in differences(whole / "run", run_dir) if not line.endswith("summary.json")]
    return found


def one_sweep(work: Path) -> list[str]:
    """Two equal sweeps at once train each run once; the second waits for the first, or is refused."""
    command = (*SWEEP, "seed=0,1,2")
    found = alone(command, work / "whole")
    processes = finished([command, command], work / "both")
    for process in processes:
        found += refused(process, "sweep") if process.popen.returncode else []
    found += [] if any(process.popen.returncode == 0 for process in processes) else ["both were refused"]
    return found + differences(work / "whole", work / "both")


def two_sweeps(work: Path) -> list[str]:
    """Of two different sweeps in one directory one trains; the other is refused, then and later, and harms nothing."""
    commands = [(*SWEEP, f"seed={seeds}") for seeds in ("0,1", "2,3,4")]
    found = [line for number in (0, 1) for line in alone(commands[number], work / f"whole-{number}")]
    processes = finished(commands, work / "both")
    winner = next((number for number, process in enumerate(processes) if process.popen.returncode == 0), 0)
    found += ended_well(processes[winner]) + refused(processes[1 - winner], "sweep")
    found += differences(work / f"whole-{winner}", work / "both")
    (later,) = finished([commands[1 - winner]], work / "both")
    found += refused(later, "sweep", "seed")
    return found + differences(work / f"whole-{winner}", work / "both")


def one_dataset(work: Path) -> list[str]:
    """Of two collections of one dataset one makes it, the other waits, and both have the same bytes."""
    found = alone(COLLECT, work / "whole")
    processes = finished([COLLECT, COLLECT], work / "both")
    found += [line for process in processes for line in ended_well(process)]
    makers = sum(process.output.read_text().count("collecting 20000 transitions") for process in processes)
    if makers != 1:
        found.append(f"{makers} processes collected")
    return found + differences(work / "whole", work / "both")


def full_disk(work: Path) -> list[str]:
    """A disk that fills up ends a run in one line; the run goes on after space is made, to the same weights."""
    command, cache = (*TRAIN, *LARGE, "hydra.run.dir=run"), {"BCQ_EXP_CACHE": str(work / "cache")}
    found = alone(command, work / "whole", cache)
    with small_disk(work / "small") as disk:
        (process,) = finished([command], disk, cache)
        found += refused(process, "no space left on device", "run")
        remount(disk, "size=64m")
        goes_on = ("-m", "bcq_exp.train", "resume=run") if (disk / "run" / "manifest.json").exists() else command
        found += alone(goes_on, disk, cache)
        return found + differences(work / "whole", disk)


def full_cache(work: Path) -> list[str]:
    """A cache that fills up ends a collection in one line; the same command makes it after space is made."""
    command = (*COLLECT[:-1], "dataset.num_transitions=90000")
    found = alone(command, work / "whole")
    with small_disk(work / "small" / "cache") as disk:
        (process,) = finished([command], disk.parent)
        found += refused(process, "no space left on device", "cache")
        remount(disk, "size=64m")
        found += alone(command, disk.parent)
        return found + differences(work / "whole", disk.parent)


def read_only(work: Path) -> list[str]:
    """A folder that cannot be written ends each command in one line; the same command works when it can be."""
    commands = [(*TRAIN, "hydra.run.dir=run"), (*SWEEP, "seed=0,1"), COLLECT]
    caches = [{"BCQ_EXP_CACHE": str(work / "cache")}] * 2 + [{}]
    found: list[str] = []
    with small_disk(work / "small") as disk:
        remount(disk, "ro")
        for command, cache in zip(commands, caches, strict=True):
            (process,) = finished([command], disk, cache)
            found += refused(process, "read-only")
        remount(disk, "rw,size=64m")
        for command, cache in zip(commands, caches, strict=True):
            found += alone(command, disk, cache)
    return found


@contextmanager
def small_disk(folder: Path) -> Iterator[Path]:
    """Mount a disk of 3 MB at `folder` while the context lasts.

    Raises:
        Skipped: this user may not mount one.
    """
    folder.mkdir(parents=True)
    _mount("-t", "tmpfs", "-o", "size=3m", "tmpfs", str(folder))
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def remount(folder: Path, options: str) -> None:
    """Remount a disk: `ro`, `rw`, another size."""
    _mount("-o", f"remount,{options}", str(folder))


def _mount(*arguments: str) -> None:
    if os.name != "posix" or os.geteuid() != 0 or shutil.which("mount") is None:
        raise Skipped("a disk is mounted by root only")
    done = subprocess.run(["mount", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise Skipped(done.stderr.strip())


FAULTS: dict[str, Callable[[Path], list[str]]] = {
    fault.__name__.replace("_", "-"): fault
    for fault in (one_run, two_runs, one_second, one_sweep, two_sweeps, one_dataset, full_disk, full_cache, read_only)
}


def promise(name: str) -> str:
    """The promise that a fault tests: the docstring of its function."""
    text = FAULTS[name].__doc__
    assert text is not None
    return text.splitlines()[0]


def main(typed: Sequence[str]) -> int:
    """Print the table, and write it where asked; return 1 where a promise was not kept."""
    parser = argparse.ArgumentParser(prog="python -m experiments.faults concurrency", description=__doc__)
    parser.add_argument("--faults", nargs="+", default=list(FAULTS), choices=list(FAULTS), metavar="NAME",
                        help=f"of {', '.join(FAULTS)} (default: all)")  # fmt: skip
    parser.add_argument("--work", type=Path, help="a folder that runs are made in (default: a temporary one)")
    parser.add_argument("--write", type=Path, help="a Markdown file for the table, beside other sections")
    args = parser.parse_args(typed)
    work = Path(tempfile.mkdtemp(prefix="faults-") if args.work is None else args.work).absolute()
    rows, is_broken = list[tuple[str, ...]](), False
    for name in args.faults:
        console.print(name)
        try:
            lines = FAULTS[name](work / name)
            result = "; ".join(lines) or "as promised"
        except Skipped as reason:
            lines, result = [], f"skipped: {reason}"
        for line in lines:
            console.print(f"  {line}", style="red", markup=False, highlight=False)
        if not lines:
            shutil.rmtree(work / name)
        is_broken |= bool(lines)
        rows.append((name, promise(name), result))
    grid = Grid(TITLE, ("fault", "promise", "result"), rows, texts=("promise", "result"))
    Console(width=180).print(grid.terminal())
    if args.write is not None:
        command = shlex.join(["python", "-m", "experiments.faults", "concurrency", *typed])
        write_section(args.write, TITLE, [f"Tried on {date.today()} by `{command}`. {cpu_model()}.", grid.table()])
    if is_broken:
        console.print(f"what has a fault is kept in {work}")
    return int(is_broken)
