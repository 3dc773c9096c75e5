"""Kill runs, sweeps and collections at random moments, resume them, and compare them with undisturbed ones."""

import argparse
import random
import shlex
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

import psutil
from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from bcq_exp.analysis.grid import Grid
from experiments.benchmark.machine import cpu_model
from experiments.faults.processes import PHASES, START, Hang, Process, changed
from experiments.faults.remains import LEFT_BEHIND, differences, lost_wandb_rows
from experiments.faults.results import write_section
from experiments.faults.scenarios import SCENARIOS, Scenario

UNIFORM = 0.4  # of the moments are drawn from the whole duration; the others follow events
MAX_KILLS = 4  # of one run before it may end
PATIENCE = 10.0  # times the undisturbed duration that a process may take
DELAY = 0.25  # of the undisturbed duration, at most, between an event and the kill
LOOK = 0.001  # seconds between two looks at the files
KEPT = "; see "  # in front of the folder that is kept
TITLE = "Kills at random moments"
HEADER = ("scenario", "kills", *(START, *PHASES), "runs", "lost", "different", "left behind")

console = Console(stderr=True)


@dataclass
class Tally:
    """A scenario's figures.

    Args:
        scenario: which.
        seconds: that it takes undisturbed.
        phases: kills by the phase that the process was in.
        runs: how often it was begun, killed and resumed to its end.
        lost: runs of these that did not end.
        different: runs of these whose files differ from the undisturbed ones, or are missing.
        littered: runs of these with a file that should not be there.
        faults: a line each, with the folder that is kept.
    """

    scenario: Scenario
    seconds: float = 0.0
    phases: Counter[str] = field(default_factory=Counter)
    runs: int = 0
    lost: int = 0
    different: int = 0
    littered: int = 0
    faults: list[str] = field(default_factory=list)

    @property
    def kills(self) -> int:
        """In all."""
        return self.phases.total()

    @property
    def line(self) -> str:
        """In words."""
        return f"{self.scenario.title}: {self.kills} kills of {self.runs} runs, {len(self.faults)} faults"

    @property
    def row(self) -> tuple[str, ...]:
        """Of the table."""
        phases = [str(self.phases[phase]) for phase in (START, *PHASES)]
        results = [str(number) for number in (self.runs, self.lost, self.different, self.littered)]
        return (self.scenario.title, str(self.kills), *phases, *results)


class Lost(Exception):
    """A command that cannot be resumed, with the reason in one line."""


def undisturbed(scenario: Scenario, folder: Path) -> float:
    """Run the command to its end in `folder`; returns the seconds.

    Raises:
        Lost: it does not come to its end.
    """
    folder.mkdir(parents=True)
    with Process(scenario.command, folder, folder.with_suffix(".log")) as process:
        try:
            status = process.wait(600)
        except Hang as hang:
            raise Lost(str(hang)) from None
        if status:
            raise Lost(f"exit {status} without any kill: {process.said()}")
        return process.seconds


def broken(scenario: Scenario, folder: Path, seconds: float, num_kills: int, rng: random.Random) -> Counter[str]:
    """Run the command in `folder` and kill it up to `num_kills` times, then let it go on to its end.

    Args:
        scenario: what is run.
        folder: a new one.
        seconds: that it takes undisturbed.
        num_kills: at most; fewer where it ends before a kill.
        rng: draws the moments.

    Returns:
        The kills by phase.

    Raises:
        Lost: it does not go on. The first argument is the reason, the second the kills so far.
    """
    folder.mkdir(parents=True)
    phases, spared = Counter[str](), list[psutil.Process]()
    command = scenario.command
    patience = 60 + PATIENCE * seconds
    try:
        while True:
            with Process(command, folder, folder.with_suffix(".log")) as process:
                if phases.total() < num_kills and waited(process, moment(scenario, folder, seconds, rng), patience):
                    phases[process.kill(spares_children=scenario.is_spread and rng.random() < 0.5)] += 1
                    spared += process.spared
                elif status := process.wait(patience):
                    raise Lost(f"exit {status} of {shlex.join(command)}: {process.said()}", phases)
                else:
                    return phases
            command = scenario.following(folder)
    except Hang as hang:
        raise Lost(str(hang), phases) from None
    finally:
        for child in psutil.wait_procs(spared, timeout=patience)[1]:
            child.kill()


def moment(scenario: Scenario, folder: Path, seconds: float, rng: random.Random) -> Callable[[Process], bool]:
    """When to kill: at a time drawn uniformly from the undisturbed duration, or at or shortly after an event."""
    if rng.random() < UNIFORM:
        at = rng.uniform(0, seconds)
        return lambda process: process.seconds >= at
    has_come = changed(folder, rng.choice(scenario.events))
    delay = rng.choice((0.0, rng.uniform(0, DELAY * seconds)))
    came: list[float] = []

    def is_due(process: Process) -> bool:
        if not came and has_come():
            came.append(process.seconds)
        return bool(came) and process.seconds >= came[0] + delay

    return is_due


def waited(process: Process, is_due: Callable[[Process], bool], patience: float) -> bool:
    """Wait for the moment; return whether it came before the process's end.

    Raises:
        Hang: neither came.
    """
    while not process.has_ended():
        if is_due(process):
            return True
        if process.seconds > patience:
            process.wait(0)
        time.sleep(LOOK)
    return False


def kill(
    name: str,
    scenario: Scenario,
    work: Path,
    *,
    num_kills: int,
    seed: int,
    on_kill: Callable[[int], object],
) -> Tally:
    """Kill one scenario's command `num_kills` times, in as many runs as that takes.

    Args:
        name: of the folder.
        scenario: what is killed.
        work: a folder; runs with a fault are kept there.
        num_kills: in all.
        seed: of the moments.
        on_kill: called with the number of kills so far.
    """
    tally, whole = Tally(scenario), work / name / "whole"
    rng = random.Random(f"{seed} {name}")
    try:
        tally.seconds = undisturbed(scenario, whole)
    except Lost as lost:
        tally.runs, tally.lost, tally.faults = 1, 1, [f"{name}: {lost.args[0]}{KEPT}{whole}"]
        return tally
    while tally.kills < num_kills and tally.runs < 4 * num_kills:
        folder = work / name / f"broken-{tally.runs}"
        tally.runs += 1
        try:
            tally.phases += broken(scenario, folder, tally.seconds, min(MAX_KILLS, num_kills - tally.kills), rng)
            found = differences(whole, folder) + lost_wandb_rows(folder)
            litter = [line for line in found if line.startswith(LEFT_BEHIND)]
            tally.littered += bool(litter)
            tally.different += len(found) > len(litter)
        except Lost as lost:
            reason, phases = lost.args
            found = [reason]
            tally.phases += phases
            tally.lost += 1
        on_kill(tally.kills)
        tally.faults += [f"{name}, seed {seed}: {line}{KEPT}{folder}" for line in found]
        if not found:
            shutil.rmtree(folder)
    if not tally.faults:
        shutil.rmtree(whole.parent)
    return tally


def report(tallies: Sequence[Tally], *, how: str) -> list[str]:
    """Paragraphs of the report: the kills, the phases they hit and their results."""
    total = sum((tally.phases for tally in tallies), Counter[str]())
    counts = ", ".join(f"{total[phase]} in {phase}" for phase in (START, *PHASES))
    faults = [f"- {line.partition(KEPT)[0]}" for tally in tallies for line in tally.faults]
    return [
        f"{how} {cpu_model()}.",
        "Each command is run once undisturbed. Then it is killed with all its processes (SIGKILL): "
        f"{UNIFORM:.0%} of the kills are at a moment drawn uniformly from the undisturbed duration, the others at or "
        "shortly after an event, such as a file that appears or a checkpoint that is half written. It is resumed as a "
        "user would (`resume=DIR` for a single run, else the same command) and killed again, up to "
        f"{MAX_KILLS} times, before it may end. Then every file is compared: weights of all checkpoints, "
        "`metrics.csv`, `sweep.csv` and datasets bit by bit, summaries except for times. No file may be missing, and "
        "none left behind. The phases are read from the processes' stacks at the kill.",
        f"{total.total()} kills ({counts}) of {sum(tally.runs for tally in tallies)} runs: "
        f"{sum(tally.lost for tally in tallies)} lost, {sum(tally.different for tally in tallies)} different, "
        f"{sum(tally.littered for tally in tallies)} with a file left behind.",
        grid(tallies).table(),
        *(["\n".join(faults)] if faults else []),
    ]


def grid(tallies: Sequence[Tally]) -> Grid:
    """A row a scenario."""
    return Grid(TITLE, HEADER, [tally.row for tally in tallies])


def arguments(typed: Sequence[str]) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(prog="python -m experiments.faults kills", description=__doc__)
    parser.add_argument("--scenarios", nargs="+", default=list(SCENARIOS), choices=list(SCENARIOS), metavar="NAME",
                        help=f"of {', '.join(SCENARIOS)} (default: all)")  # fmt: skip
    parser.add_argument("--kills", type=int, default=4, help="of each scenario (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the moments (default: %(default)s)")
    parser.add_argument("--work", type=Path, help="a folder that runs are made in (default: a temporary one)")
    parser.add_argument("--write", type=Path, help="a Markdown file for the table, beside other sections")
    return parser.parse_args(typed)


def main(typed: Sequence[str]) -> int:
    """Print the table, and write it where asked; return 1 where there is a fault."""
    args = arguments(typed)
    work = Path(tempfile.mkdtemp(prefix="faults-") if args.work is None else args.work).absolute()
    tallies: list[Tally] = []
    columns = (TextColumn("{task.description}"), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress:
        for name in args.scenarios:
            task = progress.add_task(SCENARIOS[name].title, total=args.kills)
            tallies.append(
                kill(
                    name,
                    SCENARIOS[name],
                    work,
                    num_kills=args.kills,
                    seed=args.seed,
                    on_kill=lambda kills, task=task: progress.update(task, completed=kills),
                )
            )
            console.print(tallies[-1].line, highlight=False)
            for line in tallies[-1].faults:
                console.print(line, style="red", markup=False, highlight=False)
    Console(width=180).print(grid(tallies).terminal())
    if args.write is not None:
        how = f"Measured on {date.today()} by `python -m experiments.faults kills {shlex.join(typed)}`."
        write_section(args.write, TITLE, report(tallies, how=how))
    if not any(tally.faults for tally in tallies):
        shutil.rmtree(work, ignore_errors=args.work is None)
        return 0
    console.print(f"what has a fault is kept in {work}")
    return 1
