"""Updates on a GPU: `python -m experiments.benchmark.gpu` (`make bench-gpu`).

First the results: whether a population there learns what it learns on the processor in float64. Then the speed: lone
runs and populations in each precision, against d3rlpy's compiled run and the arithmetic floor; in fp32 also with
eight updates a launch. All are compiled beforehand, side by side; then one process works at a time, so that each has
the memory of the GPU. The file is written after each row, so what was measured is there when the time is over.
"""

import argparse
import shlex
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import date
from itertools import product
from pathlib import Path

import torch
from rich.console import Console

from bcq_exp.analysis.grid import Grid
from bcq_exp.engine.machine import AUTO, prepare_for
from experiments.benchmark.agreement import NUM_MEMBERS, NUM_UPDATES, difference
from experiments.benchmark.cases import CASES, Case
from experiments.benchmark.machine import PRECISIONS, machine
from experiments.benchmark.peers.arena import ROOT, Contestant, Timing, compete
from experiments.benchmark.peers.contestants import COMPILED, NOTES, compiled_d3rlpy, ours, peer, work
from experiments.benchmark.peers.protocol import save, summary
from experiments.benchmark.peers.tables import report, updates

CHOICES = ("bcq", "discrete-64")
PARTS = ("checks", "updates")
MOST_BY_EIGHT = 32  # members up to which launches of eight updates are timed too
AT_ONCE = 6  # processes that compile side by side
CLOSE = 1e-10  # in float64
# Numbers on the device, and what is typed. Five updates a launch make four launches of the check's updates.
CHECKS = (
    (torch.float64, ("compile=never",)),
    (torch.float64, (COMPILED, "updates_per_launch=1")),
    (torch.float64, (COMPILED, "updates_per_launch=5")),
    *((torch.float32, (COMPILED, f"precision={precision}")) for precision in PRECISIONS),
)
ABOUT = (
    "One process at a time. The floor is the time of our update's matrix operations at the rate of large matrix "
    "products that our process measures in each round, in the precision of the row. All figures include minibatch "
    "sampling. Where a row says nothing of launches, a run chooses how many updates it launches at once."
)

console = Console(stderr=True)


def checks(names: list[str], device: str) -> Grid:
    """A row for each way to compute: the largest difference of a weight from the processor's."""
    prepare_for(AUTO, NUM_MEMBERS)
    rows = []
    for name, (dtype, overrides) in product(names, CHECKS):
        case, numbers, typed = CASES[name], str(dtype).removeprefix("torch."), " ".join(overrides)
        console.print(f"check of {case.title}: {numbers}, {typed}")
        verdict = "-"
        try:
            largest = difference(case, device, dtype, *overrides)
        except Exception as error:  # a row of the table
            found = f"failed: {summary(error)}"
        else:
            found = f"{largest:.2g}"
            if dtype == torch.float64:
                verdict = f"below {CLOSE}" if largest < CLOSE else f"missed: not below {CLOSE}"
        rows.append((case.title, numbers, typed, found, verdict))
    title = f"Weights of {NUM_MEMBERS} members after {NUM_UPDATES} updates, against the processor in float64"
    header = ("update", "numbers", "typed", "largest difference", "verdict")
    return Grid(title, header, rows, texts=("numbers", "typed", "verdict"))


def entered(args: argparse.Namespace) -> Iterator[Contestant]:
    """d3rlpy, compiled where that has an effect, then ours in each form."""
    yield peer("d3rlpy", args.peers_python) if args.device == "cpu" else compiled_d3rlpy(args.peers_python)
    for precision, members in product(args.precisions, args.members):
        form = ours(members, precision)
        yield form
        if precision == "fp32" and members <= MOST_BY_EIGHT and args.device != "cpu":
            overrides = (*form.overrides, "updates_per_launch=8")
            yield replace(form, name=f"{form.name}, eight updates a launch", overrides=overrides)


def timed(case: Case, data: Path, args: argparse.Namespace) -> Iterator[Timing]:
    """Compile the programs of all contestants, then time each alone."""
    contestants = list(entered(args))
    requests = {each.name: work(case, data, each, f"device={args.device}") for each in contestants}

    def run(contestant: Contestant, rounds: int, seconds: float) -> Timing:
        console.print(f"{case.title}: {contestant.name}{'' if rounds else ' is compiled'}")
        timing = Timing(contestant, case.title, num_threads=None)
        compete([timing], lambda each: requests[each.name], rounds=rounds, seconds=seconds)
        return timing

    with ThreadPoolExecutor(AT_ONCE) as pool:
        list(pool.map(lambda contestant: run(contestant, 0, 0.0), contestants))
    for contestant in contestants:
        yield run(contestant, args.rounds, args.seconds)


def arguments() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cuda", help="of all contestants; cpu: a rehearsal (default: %(default)s)")
    parser.add_argument("--cases", nargs="+", default=list(CHOICES), choices=CHOICES, help="to be timed")
    parser.add_argument("--members", type=int, nargs="+", default=[1, 8, 32, 128, 512], help="of populations")
    parser.add_argument("--precisions", nargs="+", default=list(PRECISIONS), choices=PRECISIONS, help="of products")
    parser.add_argument("--parts", nargs="+", default=list(PARTS), choices=PARTS, help="of the benchmark")
    parser.add_argument("--rounds", type=int, default=3, help="blocks of a row (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=2.0, help="of a block (default: %(default)s)")
    parser.add_argument("--peers-python", default=str(ROOT / ".venv-peers/bin/python"), help="that has d3rlpy")
    parser.add_argument("--write", type=Path, help="a Markdown file for the tables")
    return parser.parse_args()


def write(path: Path, grids: list[Grid], timings: list[Timing], device: str) -> None:
    """Write what has been measured so far."""
    versions = {name: value for timing in timings for name, value in timing.facts.get("versions", {}).items()}
    how = f"Measured on {date.today()} by `python -m experiments.benchmark.gpu {shlex.join(sys.argv[1:])}`."
    notes = {name: NOTES[name] for name in ("ours", "d3rlpy")}
    text = report("Speed on a GPU", grids, notes, about=ABOUT, machine=machine(device), versions=versions, how=how)
    path.write_text(text, encoding="utf-8")


def main() -> None:
    """Print the tables, and write them where asked."""
    args = arguments()
    if args.device != "cpu" and not torch.cuda.is_available():
        sys.exit(
            f"torch {torch.__version__} finds no GPU here: nothing is measured; --device cpu rehearses the command"
        )
    found = [checks(args.cases, args.device)] if "checks" in args.parts else []
    if args.write is not None:
        write(args.write, found, [], args.device)
    timings: list[Timing] = []
    with tempfile.TemporaryDirectory() as folder:
        for name in args.cases if "updates" in args.parts else []:
            case, data = CASES[name], Path(folder) / f"{name}.npz"
            save(data, case.columns())
            for timing in timed(case, data, args):
                timings.append(timing)
                if args.write is not None:
                    write(args.write, [*found, updates(timings)], timings, args.device)
    for grid in [*found, *([updates(timings)] if timings else [])]:
        Console(width=180).print(grid.terminal())


if __name__ == "__main__":
    main()
