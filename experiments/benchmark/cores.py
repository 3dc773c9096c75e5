"""The speed of sweeps over the cores that they use: `python -m experiments.benchmark.cores`.

A row for each number of cores up to those of the machine, doubled from one. Members are updated side by side, each in
one thread; a lone run has at most two. Updates alone are timed, with minibatch sampling.
"""

import argparse
from datetime import date
from functools import partial
from pathlib import Path

from rich.console import Console

from bcq_exp.analysis.grid import Grid
from bcq_exp.engine.machine import num_cores, prepare_for
from experiments.benchmark.cases import CASES, population, typed
from experiments.benchmark.machine import machine, seconds_a_call
from experiments.benchmark.peers.tables import report

SWEEPS = (("discrete-64", 64), ("bcq", 32))
CALL = 20  # updates that are timed together


def ms(name: str, num_members: int, num_threads: int, seconds: float) -> float:
    """Milliseconds an update and member of a population of so many on so many cores."""
    case = CASES[name]
    prepare_for(num_threads, num_members)
    config = typed(case.config("device=cpu", "compile=always", f"num_threads={num_threads}"))
    members = population(config, case.columns(), num_members)
    members.advance(2)
    return 1e3 * seconds_a_call(partial(members.advance, CALL), seconds, "cpu") / CALL / num_members


def main() -> None:
    """Print the table, and write it where asked, after each row."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=3.0, help="of measuring, a figure (default: %(default)s)")
    parser.add_argument("--write", type=Path, help="a Markdown file for the table")
    args = parser.parse_args()
    titles = [f"{CASES[name].title}, {num_members} members" for name, num_members in SWEEPS]
    columns = ["cores", *(f"{title}: {what}" for title in titles for what in ("ms a member", "times one core"))]
    rows: list[tuple[str, ...]] = []
    first: dict[tuple[str, int], float] = {}
    cores = [2**power for power in range(num_cores().bit_length())]
    for num_threads in cores:
        row = [str(num_threads)]
        for sweep in SWEEPS:
            found = ms(*sweep, num_threads, args.seconds)
            row += [f"{found:.3g}", f"{first.setdefault(sweep, found) / found:.1f}"]
        rows.append(tuple(row))
        grid = Grid("Milliseconds an update and member", tuple(columns), rows)
        if args.write is not None:
            how = f"Measured on {date.today()} by `python -m experiments.benchmark.cores`."
            args.write.write_text(
                report("Sweeps over cores", [grid], {}, about=__doc__.split("\n\n")[1], machine=machine("cpu"),
                       versions={}, how=how), encoding="utf-8")  # fmt: skip
    Console(width=180).print(grid.terminal())


if __name__ == "__main__":
    main()
