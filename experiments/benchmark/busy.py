"""What is left of the speed where others need the cores: `python -m experiments.benchmark.busy` (`make bench-busy`).

Lone runs and sweeps of sixteen, ours and others', on an idle machine, beside one other process, and several of them at
once. A round measures all states of one contestant before those of the next, so a slow minute slows both of a quotient.
"""

import argparse
import shlex
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path
from typing import Any

from rich.console import Console

from bcq_exp.analysis.grid import Grid
from bcq_exp.engine.machine import num_cores
from experiments.benchmark.cases import CASES, Case
from experiments.benchmark.machine import machine
from experiments.benchmark.peers.arena import ROOT, SETTLE, Contestant, ContestantFailed, Worker, median
from experiments.benchmark.peers.contestants import NOTES, contestants, work
from experiments.benchmark.peers.protocol import save
from experiments.benchmark.peers.sweep import NUM_MEMBERS
from experiments.benchmark.peers.tables import report

LONE, SWEEP = "lone run", f"sweep of {NUM_MEMBERS}"
MARGIN = 0.5  # seconds that the other process works longer, since the members of a sweep still catch up
LOAD = (sys.executable, "-m", "experiments.benchmark.load")

ABOUT = """\
Ours has the threads that `num_threads=auto` chooses. Of the others, a lone run has the threads that torch chooses, \
and a sweep is {num_at_once} processes of one thread at a time. The figure of two or four at once is the sum of all \
runs: a share of 1 is as much work as one after the other. A share is of the idle rate in the same round."""

console = Console(stderr=True)


@dataclass(frozen=True)
class State:
    """What is at work at the same time.

    Args:
        name: as tables show it.
        load: kind of the other process; None where there is none.
        num_runs: of the contestant.
        aims: least share of the idle speed that ours shall keep, by kind of work.
    """

    name: str
    load: str | None = None
    num_runs: int = 1
    aims: dict[str, float] = field(default_factory=dict)


BESIDE = {LONE: 1 / 3, SWEEP: 1 / 2}
IDLE = State("idle")
STATES = (
    IDLE,
    State("beside a loop of plain Python", load="loop", aims=BESIDE),
    State("beside matrix products in torch", load="products", aims=BESIDE),
    State("two at once", num_runs=2, aims={SWEEP: 0.85}),
    State("four at once", num_runs=4),
)


@dataclass
class Entrant:
    """A contestant at a kind of work, with its figures.

    Args:
        contestant: who.
        work: `LONE` or `SWEEP`.
        num_processes: of a run, all at work at the same time.
        num_threads: of each process; None for what its libraries choose.
        runs: its processes, by run.
        rates: updates a second of all members of all runs, in each round, by state's name.
        versions: of packages.
        error: why it has no figures.
    """

    contestant: Contestant
    work: str
    num_processes: int = 1
    num_threads: int | None = None
    runs: list[list[Worker]] = field(default_factory=list)
    rates: dict[str, list[float]] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    error: str | None = None

    def start(self, request: dict[str, Any], num_runs: int) -> None:
        """Start the processes of its runs; the first is prepared before the others, and leaves its program to them.

        Args:
            request: the fields of its `Work`.
            num_runs: that can be at work at once.
        """
        self.runs = [[] for _ in range(num_runs)]
        workers = []
        for number in range(num_runs * self.num_processes):
            worker = Worker(self.contestant.command, self.num_threads)
            self.runs[number % num_runs].append(worker)
            workers.append(worker)
            worker.send({"prepare": {**request, "threads": self.num_threads}})
            if number == 0:
                self.versions = worker.receive()["versions"]
        for worker in workers[1:]:
            worker.receive()

    def measure(self, state: State, seconds: float) -> None:
        """Have the runs of a state work at the same time, and keep the sum of their rates."""
        workers = [worker for run in self.runs[: state.num_runs] for worker in run]
        for worker in workers:
            worker.send({"seconds": SETTLE})
            worker.send({"seconds": seconds})
        rate = 0.0
        for worker in workers:
            worker.receive()
            answer = worker.receive()
            rate += self.contestant.members * answer["updates"] / answer["seconds"]
        self.rates.setdefault(state.name, []).append(rate)

    def fail(self, failure: ContestantFailed) -> None:
        """Drop out."""
        self.error = str(failure)
        self.close()

    def close(self) -> None:
        """End its processes."""
        for run in self.runs:
            for worker in run:
                worker.close()
        self.runs = []


def entrants(case: Case, peers_python: str, num_at_once: int) -> list[Entrant]:
    """Every contestant as a lone run, and as a sweep: ours as one population, others as processes of one thread.

    Args:
        case: to be timed.
        peers_python: the interpreter that has tianshou and d3rlpy.
        num_at_once: processes of another's sweep that work at the same time.
    """
    lone = contestants(case, "cpu", peers_python)
    sweeps = [
        Entrant(each, SWEEP, num_processes=num_at_once, num_threads=1)
        if each.is_peer
        else Entrant(replace(each, members=NUM_MEMBERS, options={"members": NUM_MEMBERS}), SWEEP)
        for each in lone
    ]
    return [*(Entrant(each, LONE) for each in lone), *sweeps]


def compete(found: Sequence[Entrant], loads: dict[str, Worker], *, rounds: int, seconds: float) -> None:
    """Measure each entrant in each state. One that fails drops out.

    Args:
        found: with their processes started, or an error.
        loads: other processes by kind, prepared.
        rounds: figures of each; every second round goes in the opposite order.
        seconds: of a figure.
    """
    for number in range(rounds):
        console.print(f"round {number + 1} of {rounds}")
        for entrant in found if number % 2 == 0 else reversed(found):
            if entrant.error is not None:
                continue
            try:
                for state in STATES:
                    with at_work(loads.get(state.load or ""), seconds):
                        entrant.measure(state, seconds)
            except ContestantFailed as failure:
                entrant.fail(failure)


@contextmanager
def at_work(load: Worker | None, seconds: float) -> Iterator[None]:
    """Keep the other process at work while a figure is measured."""
    if load is not None:
        load.send({"seconds": SETTLE + seconds + MARGIN})
    yield
    if load is not None:
        load.receive()


def table(found: Sequence[Entrant], title: str) -> Grid:
    """A row for each kind of work, state and contestant; shares are of the idle rate in the same round."""
    header = ("work", "machine", "contestant", "updates a second", "share of idle", "rounds", "aim")
    rows: list[tuple[str, ...]] = []
    for work_name in dict.fromkeys(entrant.work for entrant in found):
        for state in STATES:
            for entrant in (each for each in found if each.work == work_name):
                rows.append((work_name, state.name, entrant.contestant.name, *figures(entrant, state)))
    return Grid(title, header, rows, texts=("machine", "contestant", "rounds", "aim"))


def figures(entrant: Entrant, state: State) -> tuple[str, str, str, str]:
    """Median rate; median and range of the share; the aim, and whether the median reaches it."""
    if entrant.error is not None:
        return (f"failed: {entrant.error}", "-", "-", "-")
    rates, idle = entrant.rates[state.name], entrant.rates[IDLE.name]
    shares = [rate / alone for rate, alone in zip(rates, idle, strict=True)]
    rate, share, aim = median(rates), median(shares), state.aims.get(entrant.work)
    assert rate is not None
    assert share is not None
    if state is IDLE:
        return (f"{rate:,.0f}", "-", f"{min(rates):,.0f} to {max(rates):,.0f} a second", "-")
    said = "-"
    if aim is not None and not entrant.contestant.is_peer:
        said = f"{aim:.2f}: {'met' if share >= aim else 'missed'}"
    return (f"{rate:,.0f}", f"{share:.2f}", f"{min(shares):.2f} to {max(shares):.2f}", said)


def arguments() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    vectors = [name for name, case in CASES.items() if len(case.observation_space.shape) == 1]
    parser.add_argument("--case", default="discrete-64", choices=vectors, help="update (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="of alternation (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=1.5, help="of a figure (default: %(default)s)")
    parser.add_argument("--peers-python", default=str(ROOT / ".venv-peers/bin/python"), help="that has the peers")
    parser.add_argument("--write", type=Path, help="a Markdown file for the table")
    return parser.parse_args()


def measured(case: Case, args: argparse.Namespace, num_at_once: int) -> list[Entrant]:
    """Start all processes, measure, and end them."""
    found = entrants(case, args.peers_python, num_at_once)
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        data = Path(folder) / "data.npz"
        save(data, case.columns())
        for entrant in found:
            console.print(f"{entrant.work}: {entrant.contestant.name}")
            stack.callback(entrant.close)
            try:
                entrant.start(work(case, data, entrant.contestant, "device=cpu"), max(s.num_runs for s in STATES))
            except ContestantFailed as failure:
                entrant.fail(failure)
        loads: dict[str, Worker] = {}
        for kind in (state.load for state in STATES if state.load is not None):
            load = Contestant(kind, LOAD, is_peer=True, options={"kind": kind})
            loads[kind] = Worker(LOAD, num_threads=1)
            stack.callback(loads[kind].close)
            loads[kind].ask({"prepare": {**work(case, data, load, "device=cpu"), "threads": 1}})
        compete(found, loads, rounds=args.rounds, seconds=args.seconds)
    return found


def main() -> None:
    """Print the table, and write it where asked."""
    args = arguments()
    case, num_at_once = CASES[args.case], min(num_cores(), NUM_MEMBERS)
    found = measured(case, args, num_at_once)
    grid = table(
        found, f"{case.title}: updates a second of all members, and shares of the idle rate: medians of rounds"
    )
    Console(width=180).print(grid.terminal())
    if args.write is not None:
        text = report(
            "Speed beside others",
            [grid],
            NOTES,
            about=ABOUT.format(num_at_once=num_at_once),
            machine=machine("cpu"),
            versions={name: value for entrant in found for name, value in entrant.versions.items()},
            how=f"Measured on {date.today()} by `python -m experiments.benchmark.busy {shlex.join(sys.argv[1:])}`.",
        )
        args.write.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
