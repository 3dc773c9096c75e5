"""How well estimates choose among policies: rank correlation and regret, as tables and a plot.

Estimates are discounted returns in units of the recorded reward, online returns are undiscounted: only their order can
be compared.

Shape suffixes: P policies, R resamples.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich import box
from rich.table import Table
from scipy import stats

from bcq_exp.io.files import replacing

NUM_RESAMPLES = 10_000
KS = (1, 3, 5)  # of regret@k

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Ranking:
    """How well the order by estimate agrees with the order by online return, over P policies.

    Args:
        num_policies: P.
        correlation: Spearman's rank correlation of estimates and online returns; NaN where either are all equal.
        interval: the 95 % percentile bootstrap interval of the correlation, over policies.
        regrets: by k, the online return of the best policy less that of the best among the k of highest estimate
            (arXiv:2007.09055); k up to P.
    """

    num_policies: int
    correlation: float
    interval: tuple[float, float]
    regrets: Mapping[int, float]


def rank(estimate_P: Array, return_P: Array, seed: int) -> Ranking:
    """Compare the order by estimate with the order by online return.

    Args:
        estimate_P, return_P: of P policies each, finite; P at least 2.
        seed: of the bootstrap.
    """
    num = len(estimate_P)
    drawn_RP = np.random.default_rng(seed).integers(num, size=(NUM_RESAMPLES, num))
    resampled_R = spearman(estimate_P[drawn_RP], return_P[drawn_RP])
    resampled_R = resampled_R[~np.isnan(resampled_R)]  # a resample of a single policy has no order
    low, high = np.quantile(resampled_R, (0.025, 0.975)) if len(resampled_R) else (math.nan, math.nan)
    best_first_P = np.argsort(-estimate_P, kind="stable")
    return Ranking(
        num_policies=num,
        correlation=float(spearman(estimate_P, return_P)),
        interval=(float(low), float(high)),
        regrets={k: float(return_P.max() - return_P[best_first_P[:k]].max()) for k in KS if k <= num},
    )


def spearman(x: Array, y: Array) -> Array:
    """Spearman's rank correlation along the last axis; NaN where either has one value only.

    Args:
        x, y: of one shape, (*, P).
    """
    ranks_x, ranks_y = (stats.rankdata(values, axis=-1) for values in (x, y))
    centred_x, centred_y = (ranks - ranks.mean(-1, keepdims=True) for ranks in (ranks_x, ranks_y))
    scale = np.sqrt((centred_x**2).sum(-1) * (centred_y**2).sum(-1))
    with np.errstate(invalid="ignore"):
        correlation: Array = (centred_x * centred_y).sum(-1) / scale
    return correlation


def estimates_table(
    labels: Sequence[str], columns: Mapping[str, Sequence[float]], returns: Sequence[float], title: str
) -> Table:
    """Make a table with a row a policy, the highest of the first column on top.

    Args:
        labels: of P policies.
        columns: estimates and diagnostics by name; NaN where there is none.
        returns: online returns; their column is left out where none is known.
        title: of the table.
    """
    table = Table(title=title, box=box.SIMPLE_HEAD)
    shown = dict(columns)
    if not all(map(math.isnan, returns)):
        table.caption, shown["online"] = "online: the last evaluation in training, undiscounted", returns
    table.add_column("run", overflow="fold")
    for column in shown:
        table.add_column(column, justify="right", no_wrap=True)
    rows = list(zip(labels, *shown.values(), strict=True))
    decimals = [num_decimals(values) for values in shown.values()]
    for label, *values in sorted(rows, key=lambda row: (math.isnan(row[1]), -row[1])):
        table.add_row(label, *map(rounded, values, decimals))
    return table


def num_decimals(values: Iterable[float]) -> int:
    """One decimal where the largest number has two digits before the point, three where all are smaller."""
    return 1 if any(abs(value) >= 10 for value in values) else 3


def rounded(value: float, decimals: int) -> str:
    """A number with so many decimals; a dash for NaN."""
    return "-" if math.isnan(value) else f"{value:.{decimals}f}"


def rankings_table(columns: Mapping[str, Sequence[float]], returns: Sequence[float], seed: int) -> Table:
    """Make a table with a row an estimator, judged over the policies that it has an estimate of.

    Args:
        columns: estimates by estimator, of P policies each; NaN where there is none.
        returns: online returns.
        seed: of the bootstrap.
    """
    table = Table(title="choice by estimate, judged by online return", box=box.SIMPLE_HEAD)
    for column in ("estimator", "policies", "Spearman [95 %]", *(f"regret@{k}" for k in KS)):
        table.add_column(column, justify="left" if column == "estimator" else "right", no_wrap=True)
    for name, values in columns.items():
        known = ~np.isnan(values)
        if known.sum() < 2:
            table.add_row(name, str(known.sum()), "-", *("-" for _ in KS))
            continue
        ranking = rank(np.asarray(values)[known], np.asarray(returns)[known], seed)
        low, high = ranking.interval
        regrets = [rounded(ranking.regrets.get(k, math.nan), num_decimals(returns)) for k in KS]
        table.add_row(name, str(ranking.num_policies), f"{ranking.correlation:.2f} [{low:.2f}, {high:.2f}]", *regrets)
    return table


def plot(columns: Mapping[str, Sequence[float]], returns: Sequence[float], path: Path) -> None:
    """Draw estimates against online returns into a PNG: a panel an estimator, a point a policy.

    Args:
        columns: estimates by estimator, of P policies each; NaN is left out.
        returns: of the same policies.
        path: of the PNG.
    """
    from matplotlib.figure import Figure  # takes half a second to import

    figure = Figure(figsize=(4.8 * len(columns), 4.2), layout="constrained")
    panels = figure.subplots(1, len(columns), squeeze=False)[0]
    for axes, (name, values) in zip(panels, columns.items(), strict=True):
        axes.scatter(returns, values)
        axes.set(xlabel="online return, undiscounted", ylabel=f"{name}: discounted return")
        axes.grid(alpha=0.3)
    with replacing(path) as partial:
        figure.savefig(partial, dpi=120, format="png")
