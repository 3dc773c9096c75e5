"""Time ours and others at the same work: `python -m experiments.benchmark.peers` (`make bench-peers`)."""

import argparse
import shlex
import sys
import tempfile
from datetime import date
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from bcq_exp.analysis.grid import Grid
from experiments.benchmark.cases import CASES, Case
from experiments.benchmark.machine import machine
from experiments.benchmark.peers.arena import ROOT, Contestant, Timing, compete
from experiments.benchmark.peers.contestants import NOTES, PACKAGE, authors, contestants, peer, work
from experiments.benchmark.peers.protocol import save
from experiments.benchmark.peers.sweep import NUM_MEMBERS, SweepRow, sweep
from experiments.benchmark.peers.tables import floors, report, sweeps, updates

SWEEP_CASE = "discrete-64"  # whose update a sweep's members make
ABOUT = (
    "Contestants work in turn, one at a time, each in its own process for a whole case. The floor is the time of our "
    "update's matrix operations, convolutions included, at the rate of large matrix products that our process measures "
    "in each round, in the precision of the row. All figures include minibatch sampling."
)

console = Console(stderr=True)


def arguments() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    here = "cuda" if torch.cuda.is_available() else "cpu"
    parser.add_argument("--device", default=here, help="of all contestants (default: %(default)s)")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2], help="of torch, each measured in turn")
    parser.add_argument("--cases", nargs="*", default=list(CASES), choices=list(CASES), help="to be timed")
    parser.add_argument("--rounds", type=int, default=7, help="of alternation (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=1.5, help="of a block, one a round and contestant")
    parser.add_argument("--sweep-updates", type=int, default=20_000, help="of each member; 0: no sweep")
    parser.add_argument(
        "--sweep-peer-runs", type=int, default=2, choices=range(2, NUM_MEMBERS + 1, 2),
        help=f"of a peer's {NUM_MEMBERS} runs, those made; the time is scaled (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument("--peers-python", default=str(ROOT / ".venv-peers/bin/python"), help="that has the peers")
    parser.add_argument("--write", type=Path, help="a Markdown file for the tables")
    return parser.parse_args()


def run(case: Case, args: argparse.Namespace) -> list[Timing]:
    """Run a case at each number of threads."""
    found: list[Timing] = []
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "data.npz"
        save(data, case.columns())
        for num_threads in args.threads:
            console.print(f"{case.title}, threads: {num_threads}")
            entered = contestants(case, args.device, args.peers_python)
            timings = [Timing(contestant, case.title, num_threads) for contestant in entered]
            overrides = (f"device={args.device}", f"num_threads={num_threads}")

            def work_of(contestant: Contestant, overrides: tuple[str, ...] = overrides) -> dict[str, Any]:
                return work(case, data, contestant, *overrides)

            compete(timings, work_of, rounds=args.rounds, seconds=args.seconds)
            found += timings
    return found


def run_sweep(args: argparse.Namespace) -> list[SweepRow]:
    """Run the sweep by us and by every peer."""
    console.print(f"sweep of {NUM_MEMBERS} members, {args.sweep_updates:,} updates each")
    peers = [peer("tianshou", args.peers_python), peer("d3rlpy", args.peers_python), authors()]
    return sweep(
        peers,
        num_updates=args.sweep_updates,
        peer_runs=args.sweep_peer_runs,
        device=args.device,
        num_threads=max(args.threads),
    )


def main() -> None:
    """Print the tables, and write them where asked."""
    args = arguments()
    timings = [timing for name in args.cases for timing in run(CASES[name], args)]
    grids: list[Grid] = [updates(timings)] if timings else []
    if args.sweep_updates:
        floor = floors(timings).get((CASES[SWEEP_CASE].title, max(args.threads), "fp32"))
        grids.append(sweeps(run_sweep(args), floor))
    for grid in grids:
        Console(width=180).print(grid.terminal())
    if args.write is not None:
        versions = {name: value for timing in timings for name, value in timing.facts.get("versions", {}).items()}
        how = f"Measured on {date.today()} by `python -m {PACKAGE} {shlex.join(sys.argv[1:])}`."
        text = report("Speed", grids, NOTES, about=ABOUT, machine=machine(args.device), versions=versions, how=how)
        args.write.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
