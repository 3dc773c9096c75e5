"""Figures of results: learning curves, final returns, performance profiles, and what swept keys change."""

from collections.abc import Iterable, Sequence
from itertools import product
from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bcq_exp.algorithms.form import counted
from bcq_exp.analysis.comparison import Comparison, Row, scores_by_row
from bcq_exp.analysis.results import Result
from bcq_exp.analysis.statistics import expected_best, interval, performance_profile
from bcq_exp.analysis.sweeps import Sweep, swept
from bcq_exp.io.files import replacing

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = tuple(f"C{number}" for number in range(10) if number != 7)  # of matplotlib's cycle, but for its grey
LINES = tuple(product(("-", ":"), COLOURS))  # those that can be told apart, by style and colour
MOST_NAMED = len(LINES)  # rows with a line and a name of their own in one panel; the others are grey
WIDEST = 48  # characters of a name; a longer one is wrapped
LINE_HEIGHT = 0.21  # inches of a name's line in a legend
MOST_BANDS = 4  # rows whose intervals can be told apart in one panel
MOST_BARS = 40  # rows with an interval in one panel
LOGARITHMIC_FROM = 50  # ratio of the largest to the smallest value of a swept key
GREY = "#9a9a9a"
SAME_BYTES: Any = {"svg.hashsalt": "bcq_exp", "svg.fonttype": "none"}  # names of an SVG's parts; texts as text


def new_figure(
    num_columns: int, width: float = 6.4, height: float = 4.2, num_rows: int = 1
) -> "tuple[Figure, list[Axes]]":
    """A figure with panels of that many inches beside each other, row by row."""
    from matplotlib.figure import Figure  # takes half a second to import

    figure = Figure(figsize=(width * num_columns, height * num_rows), layout="constrained")
    panels = list(figure.subplots(num_rows, num_columns, squeeze=False).flat)
    for axes in panels:
        axes.spines[["top", "right"]].set_visible(False)
    return figure, panels


def beside(names: Iterable[str]) -> float:
    """Inches that a legend with these names takes beside a panel."""
    return 0.6 + 0.075 * min(WIDEST, max(map(len, names)))


def add_legend(figure: "Figure", axes: "Axes") -> None:
    """A legend beside a panel; the figure becomes as high as it is."""
    labels = axes.get_legend_handles_labels()[1]
    axes.legend(frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
    figure.set_figheight(max(figure.get_figheight(), 0.6 + LINE_HEIGHT * sum(num_lines(label) for label in labels)))


def wrapped(name: str) -> str:
    """A name in lines of `WIDEST` characters at the most."""
    return fill(name, WIDEST)


def num_lines(text: str) -> int:
    """Lines of a text."""
    return text.count("\n") + 1


def save(figure: "Figure", path: Path) -> None:
    """Write a figure as a PNG or an SVG, by the path's suffix; the same bytes for the same figure."""
    import matplotlib as mpl

    suffix = path.suffix[1:]
    with replacing(path) as partial, mpl.rc_context(SAME_BYTES):
        figure.savefig(partial, dpi=120, format=suffix, metadata={"Date": None} if suffix == "svg" else None)


def learning_curves(comparisons: Sequence[Comparison]) -> "Figure":
    """Draw returns, or estimates, against updates, a panel a dataset: the mean over seeds, in a band of all.

    A dashed line is a behaviour's return; it is as long as the longest run that learned from it. Of more than
    `MOST_NAMED` rows the first have names, the others are grey.
    """
    names = [row.name for comparison in comparisons for row in comparison.rows[:MOST_NAMED]]
    figure, panels = new_figure(len(comparisons), 6.4 + beside(names))
    width = min(WIDEST, max(30, *map(len, names)))
    for axes, comparison in zip(panels, comparisons, strict=True):
        behaviours: dict[float, tuple[list[str], str, int]] = {}  # kinds, colour of the first, updates of the longest
        for place, row in enumerate(comparison.rows):
            style, colour = LINES[place] if place < MOST_NAMED else ("-", GREY)
            if row.measured:
                draw_curve(axes, row, style, colour, is_named=place < MOST_NAMED)
            if not comparison.is_of_returns:
                continue
            value = comparison.behaviours[row.name]
            kinds, first, longest = behaviours.get(value, ([], colour if row.measured else GREY, 0))
            behaviours[value] = [*kinds, row.name], first, max(longest, comparison.updates[row.name])
        is_shared = len(behaviours) == 1
        for value, (kinds, colour, longest) in behaviours.items():
            label = "behaviour" if is_shared else fill(f"behaviour of {', '.join(kinds)}", width)
            axes.hlines(value, 0, longest, GREY if is_shared else colour, "--", label=label)
        if len(comparison.rows) > MOST_NAMED:
            axes.plot([], [], color=GREY, label=f"{len(comparison.rows) - MOST_NAMED} more")
        axes.set(title=comparison.dataset, xlabel="updates", ylabel=comparison.measure)
        if axes.get_legend_handles_labels()[0]:
            add_legend(figure, axes)
    return figure


def draw_curve(axes: "Axes", row: Row, style: str, colour: str, *, is_named: bool) -> None:
    """A row's mean return over its seeds, in a band from the smallest to the largest."""
    updates, returns = curves(row.measured)
    label = wrapped(f"{row.name} ({counted(len(row.measured), 'seed')})") if is_named else None
    axes.plot(updates, returns.mean(0), style, color=colour, label=label, zorder=2 if is_named else 1)
    if is_named:
        axes.fill_between(updates, returns.min(0), returns.max(0), color=colour, alpha=0.15, linewidth=0)


def curves(group: Sequence[Result]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The updates (U,) at which every run of the group was evaluated, and their returns (R, U)."""
    common = sorted(set.intersection(*({update for update, _ in result.evaluations} for result in group)))
    by_update = [dict(result.evaluations) for result in group]
    return np.array(common), np.array([[returns[update] for update in common] for returns in by_update])


def final_returns(comparison: Comparison) -> "Figure":
    """Draw each row's final return, the best on top: its seeds as dots, the mean with its 95 % interval.

    Of many rows the `MOST_BARS` best are drawn. The horizontal range is that of the seeds: an interval of two seeds is
    wider than all else, and goes beyond it.
    """
    rows = [row for row in comparison.rows if row.measured][:MOST_BARS]
    behaviours = set(comparison.behaviours.values()) if comparison.is_of_returns else set()
    names = [wrapped(row.name) for row in rows]
    figure, (axes,) = new_figure(1, 8.0, 1.2 + (0.12 + 0.16 * max(map(num_lines, names))) * len(rows))
    everything = [value for row in rows for value in row.finals] + list(behaviours)
    margin = 0.05 * (max(everything) - min(everything) or 1.0)
    for place, row in enumerate(reversed(rows)):
        mean, _, half = interval(row.finals)
        colour = LINES[len(rows) - 1 - place][1] if len(rows) <= MOST_NAMED else "C0"
        axes.errorbar(mean, place, xerr=None if np.isnan(half) else half, fmt="o", color=colour, capsize=3)
        axes.plot(row.finals, [place] * len(row.finals), "|", color=colour, markersize=11, alpha=0.7)
    for value in behaviours:
        axes.axvline(value, color=GREY, linestyle="--", label="behaviour")
    axes.set(
        title=comparison.dataset,
        xlabel=f"final {comparison.measure}: mean with 95 % interval, and each seed",
        xlim=(min(everything) - margin, max(everything) + margin),
        ylim=(-0.6, len(rows) - 0.4),
    )
    axes.set_yticks(range(len(rows)), names[::-1])
    return figure


def profiles(comparisons: Sequence[Comparison]) -> "Figure | None":
    """Draw the share of runs above each normalised score over all datasets, with 95 % intervals where rows are few.

    None where no row has scores on every dataset.
    """
    found = dict(list(scores_by_row(comparisons).items())[:MOST_NAMED])
    if not found:
        return None
    everything = [score for scores in found.values() for values in scores.values() for score in values]
    thresholds = np.linspace(min(0.0, *everything), max(everything), 61)
    figure, (axes,) = new_figure(1, 6.4 + beside(found))
    for (name, scores), (style, colour) in zip(found.items(), LINES, strict=False):
        pooled = np.concatenate([np.asarray(values) for values in scores.values()])
        axes.step(
            thresholds, (pooled > thresholds[:, None]).mean(1), style, color=colour, where="post", label=wrapped(name)
        )
        if len(found) <= MOST_BANDS:
            _, low_T, high_T = np.array(performance_profile(scores, thresholds.tolist())).T
            axes.fill_between(thresholds, low_T, high_T, step="post", color=colour, alpha=0.15, linewidth=0)
    axes.set(xlabel="normalised score", ylabel="share of runs above it", ylim=(0, 1.02))
    add_legend(figure, axes)
    return figure


def sensitivity(comparison: Comparison) -> "list[Figure]":
    """Draw what swept keys change, a figure an algorithm.

    One key: final returns against it. Two that were combined in full: a map of means. More, or not in full: a panel a
    key, a dot a setting.
    """
    return [draw_sweep(comparison, sweep) for sweep in swept(comparison)]


def draw_sweep(comparison: Comparison, sweep: Sweep) -> "Figure":
    """See `sensitivity`."""
    title = f"{sweep.algorithm} on {comparison.dataset}"
    if len(sweep.keys) == 2 and (means := sweep.map()) is not None:
        figure, (axes,) = new_figure(1, 1.6 + 0.75 * len(means[1]), 1.6 + 0.45 * len(means[0]))
        draw_map(axes, *means)
        axes.set(title=title, ylabel=sweep.names[0], xlabel=sweep.names[1])
        return figure
    figure, panels = new_figure(len(sweep.keys), 4.8, 3.6)
    for axes, key, name in zip(panels, sweep.keys, sweep.names, strict=True):
        values, rows = [row.settings[key] for row in sweep.rows], sweep.rows
        numbers = as_numbers(values)
        order = sorted(set(values))
        places = numbers if numbers is not None else [float(order.index(value)) for value in values]
        if len(sweep.keys) == 1:
            pairs = sorted(zip(places, rows, strict=True), key=lambda pair: pair[0])
            spreads = [interval(row.finals)[::2] for _, row in pairs]
            axes.errorbar(
                [x for x, _ in pairs], [m for m, _ in spreads], [np.nan_to_num(h) for _, h in spreads], capsize=3
            )
        for place, row in zip(places, rows, strict=True):
            axes.plot([place] * len(row.finals), row.finals, "o", color="C0", alpha=0.5, markersize=4)
        if numbers is None:
            axes.set_xticks(range(len(order)), order)
        elif is_logarithmic(values):
            axes.set_xscale("log")
        elif min(numbers) == 0 and is_logarithmic(positive := [value for value in values if float(value) > 0]):
            axes.set_xscale("symlog", linthresh=min(map(float, positive)))
        for value in set(comparison.behaviours.values()) if comparison.is_of_returns else ():
            axes.axhline(value, color=GREY, linestyle="--")
        axes.set(title=title, xlabel=name, ylabel=f"final {comparison.measure}")
    return figure


def draw_map(axes: "Axes", rows: Sequence[str], columns: Sequence[str], means: NDArray[Any]) -> None:
    """Means as coloured cells with their numbers."""
    axes.imshow(means, aspect="auto", cmap="viridis")
    middle = (np.nanmin(means) + np.nanmax(means)) / 2
    for (row, column), mean in np.ndenumerate(means):
        colour = "white" if mean < middle else "black"
        axes.text(column, row, f"{mean:.1f}", ha="center", va="center", color=colour, fontsize=9)
    axes.set_xticks(range(len(columns)), columns)
    axes.set_yticks(range(len(rows)), rows)


def best_of(comparison: Comparison) -> "Figure | None":
    """Draw the expected best of 1, 2, ... tuned settings of each algorithm that has three or more.

    Settings are drawn with replacement, and the mean over its seeds is a setting's value (arXiv:1909.03004).
    """
    sweeps = [sweep for sweep in swept(comparison) if len(sweep.rows) > 2]
    if not sweeps:
        return None
    figure, (axes,) = new_figure(1)
    for sweep in sweeps:
        best = expected_best([float(np.mean(row.finals)) for row in sweep.rows])
        axes.plot(range(1, len(best) + 1), best, ".-", label=f"{sweep.algorithm}: {', '.join(sweep.names)}")
    axes.set(title=comparison.dataset, xlabel="settings tried", ylabel=f"expected best of final {comparison.measure}")
    axes.legend(frameon=False)
    return figure


def as_numbers(values: Sequence[str]) -> list[float] | None:
    """The values as numbers; None where one is none."""
    try:
        return [float(value) for value in values]
    except ValueError:
        return None


def is_logarithmic(values: Sequence[str]) -> bool:
    """Whether the values of a key are positive numbers of different orders of magnitude."""
    numbers = as_numbers(values)
    return numbers is not None and min(numbers) > 0 and max(numbers) / min(numbers) >= LOGARITHMIC_FROM
