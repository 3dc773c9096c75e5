"""Figures of results: learning curves over seeds."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from bcq_exp.analysis.results import Result, behaviour_return, grouped, num_updates
from bcq_exp.io.files import replacing

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def plot(results: Sequence[Result], path: Path) -> None:
    """Write `learning_curves` as a PNG."""
    with replacing(path) as partial:
        learning_curves(results).savefig(partial, dpi=120, format="png")


def learning_curves(results: Sequence[Result]) -> "Figure":
    """Draw return against updates, a panel a dataset: the mean over seeds, in a band from the smallest to the largest.

    A dashed line is a behaviour's return; it is as long as the longest run that learned from it.
    """
    from matplotlib.figure import Figure  # takes half a second to import

    datasets = grouped(results)
    figure = Figure(figsize=(6.4 * len(datasets), 4.2), layout="constrained")
    panels = figure.subplots(1, len(datasets), squeeze=False)[0]
    for axes, (dataset, groups) in zip(panels, datasets.items(), strict=True):
        behaviours: dict[float, tuple[list[str], str, int]] = {}  # kinds, colour of the first, updates of the longest
        for name, group in groups.items():
            finished, colour = [result for result in group if result.is_finished], "gray"
            if finished:
                updates, returns = curves(finished)
                (line,) = axes.plot(updates, returns.mean(0), label=f"{name} ({len(finished)} seeds)")
                colour = line.get_color()
                axes.fill_between(updates, returns.min(0), returns.max(0), color=colour, alpha=0.15)
            value = behaviour_return(group)
            kinds, first, longest = behaviours.get(value, ([], colour, 0))
            behaviours[value] = [*kinds, name], first, max(longest, num_updates(group))
        is_shared = len(behaviours) == 1
        for value, (kinds, colour, longest) in behaviours.items():
            label = "behaviour" if is_shared else f"behaviour of {', '.join(kinds)}"
            axes.hlines(value, 0, longest, "gray" if is_shared else colour, "--", label=label)
        axes.set(title=dataset, xlabel="updates", ylabel="return (mean over episodes)")
        axes.legend()
    return figure


def curves(group: Sequence[Result]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The updates (U,) at which every run of the group was evaluated, and their returns (R, U)."""
    common = sorted(set.intersection(*({update for update, _ in result.evaluations} for result in group)))
    by_update = [dict(result.evaluations) for result in group]
    return np.array(common), np.array([[returns[update] for update in common] for returns in by_update])
