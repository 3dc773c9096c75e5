"""Tables of a comparison: over seeds, over datasets, differences by seed, and of single runs."""

import math
from collections.abc import Sequence

import numpy as np

from bcq_exp.analysis.comparison import Comparison, Row, scores_by_row
from bcq_exp.analysis.grid import Grid
from bcq_exp.analysis.results import NOTHING
from bcq_exp.analysis.statistics import (
    Estimate,
    interval,
    over_datasets,
    paired_difference,
    probability_of_improvement,
)
from bcq_exp.io.summary import LAST

NOTE = "stratified bootstrap over seeds; better: the probability that a run is better than one of the first row"


def over_seeds(comparison: Comparison) -> Grid:
    """A row for each kind of run, the best first. Failed and pruned runs are counted, not averaged.

    Updates and the behaviour return are columns where rows differ in them.
    """
    updates = {name: str(num) for name, num in comparison.updates.items()}
    places = decimals(comparison)
    behaviours = {name: with_decimals(value, places) for name, value in comparison.behaviours.items()}
    after = "" if len(set(updates.values())) > 1 else f" after {next(iter(updates.values()))} updates"
    shared = "" if len(set(behaviours.values())) > 1 else next(iter(behaviours.values()))
    own = [*([] if after else [("updates", updates)]), *([] if shared else [("behaviour", behaviours)])]
    ends = ("seeds", "final ± std", f"last {LAST} ± 95 %", "score", "updates/s")
    lines = [(row, cells(row, places)) for row in comparison.rows]
    shown = comparison.measure if comparison.measure == NOTHING else f"mean {comparison.measure}"
    return Grid(
        f"{comparison.dataset}: {shown}{after}, over seeds",
        ("run", *(name for name, _ in own), *ends),
        [(row.name, *(values[row.name] for _, values in own), *line) for row, line in lines],
        ", ".join(filter(None, [f"mean return of the behaviour: {shared}" if shared else "", remark(comparison)])),
    )


def remark(comparison: Comparison) -> str:
    """What to know of figures that are no returns of episodes."""
    if comparison.measure == NOTHING:
        return "without environment and estimate; eval_ope=fqe estimates returns"
    return "" if comparison.is_of_returns else "undiscounted; estimates are discounted"


def decimals(comparison: Comparison) -> int:
    """Of returns: 1, or as many as give the largest of them three digits, such as 3 for shares."""
    figures = [*comparison.behaviours.values(), *(final for row in comparison.rows for final in row.finals)]
    largest = max((abs(figure) for figure in figures if math.isfinite(figure)), default=100.0)
    return 1 if largest >= 10 else 2 if largest > 1 else 3


def cells(row: Row, places: int) -> tuple[str, str, str, str, str]:
    """Seeds, final returns, last returns, scores and speed of a row; returns with so many decimals."""
    if not row.finished:
        return row.status, "-", "-", "-", "-"
    speed = np.mean([result.summary["updates_per_second"] for result in row.finished])
    if not row.measured:
        return row.status, "-", "-", "-", f"{speed:.0f}"
    final, std, _ = interval(row.finals)
    last, _, half = interval(row.lasts)
    score = with_decimals(None if row.scores is None else float(np.mean(row.scores)))
    return row.status, with_spread(final, std, places), with_spread(last, half, places), score, f"{speed:.0f}"


def across(comparisons: Sequence[Comparison]) -> list[Grid]:
    """Interquartile mean and mean of the normalised scores over several datasets, for rows that have all of them."""
    found = scores_by_row(comparisons)
    if len(comparisons) < 2 or not found:
        return []
    middle = {name: over_datasets(scores) for name, scores in found.items()}
    names = sorted(found, key=lambda name: -middle[name].value)
    first = names[0]
    rows = []
    for name in names:
        mean = over_datasets(found[name], lambda values, axis: values.mean(axis))
        better = "" if name == first else with_ends(probability_of_improvement(found[name], found[first]), 2)
        rows.append((name, with_ends(middle[name]), with_ends(mean), better))
    header = ("run", "interquartile mean [95 %]", "mean [95 %]", "better than the first [95 %]")
    return [Grid(f"Normalised scores over {len(comparisons)} datasets", header, rows, NOTE)]


def differences(comparison: Comparison) -> Grid | None:
    """Each row's final return minus the first row's, over the seeds that both have; None where no row has two."""
    first, *others = comparison.rows
    rows, places = [], decimals(comparison)
    for row in others:
        if first.by_seed.keys() & row.by_seed.keys():
            mean, std, half, num = paired_difference(row.by_seed, first.by_seed)
            rows.append((row.name, str(num), with_spread(mean, std, places), with_decimals(half, places)))
    if not rows:
        return None
    header = ("run", "seeds in common", "difference ± std", "half of the 95 % interval")
    return Grid(f"{comparison.dataset}: final return minus that of {first.name}, by seed", header, rows)


def single_runs(comparison: Comparison) -> Grid:
    """A row for each run."""
    places = decimals(comparison)
    rows = [
        (
            row.name,
            str(result.summary["seed"]),
            str(result.summary["status"]),
            with_decimals(result.final, places),
            with_decimals(result.last_return if result.evaluations else None, places),
            with_decimals(result.summary["final_normalized_score"]),
            str(result.summary["num_updates"]),
            str(result.directory),
        )
        for row in comparison.rows
        for result in sorted(row.runs, key=lambda result: int(result.summary["seed"]))
    ]
    header = ("run", "seed", "status", "final", f"last {LAST}", "score", "updates", "directory")
    return Grid(f"{comparison.dataset}: every run", header, rows)


def with_spread(mean: float, spread: float, places: int = 1) -> str:
    """Mean and spread, or the mean alone where one seed has no spread."""
    return with_decimals(mean, places) if np.isnan(spread) else f"{mean:.{places}f} ± {spread:.{places}f}"


def with_ends(estimate: Estimate, places: int = 1) -> str:
    """A figure and its interval, or the figure alone where it has none."""
    value, low, high = (f"{number:.{places}f}" for number in estimate)
    return value if np.isnan(estimate.low) else f"{value} [{low}, {high}]"


def with_decimals(value: float | None, places: int = 1) -> str:
    """A number with so many decimals; a dash for None and NaN."""
    return "-" if value is None or math.isnan(value) else f"{value:.{places}f}"
