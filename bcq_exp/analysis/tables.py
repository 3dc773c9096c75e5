"""Tables of results: a row a kind of run, over its seeds."""

import math
from collections.abc import Sequence

import numpy as np
from rich import box
from rich.table import Table

from bcq_exp.analysis.results import LAST, Result, behaviour_return, grouped, num_updates
from bcq_exp.analysis.statistics import interval


def tables(results: Sequence[Result]) -> list[Table]:
    """Make a table for each dataset and environment; in it a row for each kind of run, over its seeds, the best first.

    Failed and pruned runs are counted, not averaged. Updates and the behaviour return are columns where rows differ in
    them.
    """
    made = []
    for dataset, groups in grouped(results).items():
        lengths = {name: str(num_updates(group)) for name, group in groups.items()}
        behaviours = {name: f"{behaviour_return(group):.1f}" for name, group in groups.items()}
        after = "" if len(set(lengths.values())) > 1 else f" after {next(iter(lengths.values()))} updates"
        shared = "" if len(set(behaviours.values())) > 1 else next(iter(behaviours.values()))
        table = Table(
            title=f"{dataset}: mean returns{after}, over seeds",
            box=box.SIMPLE_HEAD,
            caption=f"mean return of the behaviour: {shared}" if shared else None,
        )
        table.add_column("run", overflow="fold")
        own = [*([] if after else [("updates", lengths)]), *([] if shared else [("behaviour", behaviours)])]
        for column in (*(name for name, _ in own), "seeds", "final ± std", f"last {LAST} ± 95 %", "score", "updates/s"):
            table.add_column(column, justify="right", no_wrap=True)
        for _, name, *cells in sorted((row_of(name, group) for name, group in groups.items()), reverse=True):
            table.add_row(name, *(values[name] for _, values in own), *cells)
        made.append(table)
    return made


def row_of(name: str, group: Sequence[Result]) -> tuple[float, str, str, str, str, str, str]:
    """The mean final return, by which rows are sorted, and the cells of a row."""
    finished = [result for result in group if result.is_finished]
    num_cut = sum(result.summary.get("final_cut_episodes", 0) > 0 for result in finished)
    statuses = [result.summary["status"] for result in group]
    counts = [(statuses.count("failed"), "failed"), (statuses.count("pruned"), "pruned"), (num_cut, "cut")]
    marks = [f"{num} {mark}" for num, mark in counts if num]
    seeds = f"{len(finished)} ({', '.join(marks)})" if marks else f"{len(finished)}"
    if not finished:
        return -np.inf, name, seeds, "-", "-", "-", "-"
    final, std, _ = interval([result.summary["final_return"] for result in finished])
    last, _, half = interval([result.last_return for result in finished])
    scores = [result.summary["final_normalized_score"] for result in finished]
    return (
        final,
        name,
        seeds,
        with_spread(final, std),
        with_spread(last, half),
        "-" if None in scores else f"{np.mean(scores):.1f}",
        f"{np.mean([result.summary['updates_per_second'] for result in finished]):.0f}",
    )


def with_spread(mean: float, spread: float) -> str:
    """Mean and spread, or the mean alone where one seed has no spread."""
    return f"{mean:.1f}" if np.isnan(spread) else f"{mean:.1f} ± {spread:.1f}"


def one_decimal(value: float | None) -> str:
    """A number with one decimal; a dash for None and NaN."""
    return "-" if value is None or math.isnan(value) else f"{value:.1f}"
