"""Pictures of a search: values in their order, importance of parameters, and the Pareto front of two objectives."""

import itertools
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import optuna
from optuna.trial import TrialState

from bcq_exp.io.files import replacing
from bcq_exp.search.study import Study

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Colours of Okabe and Ito, which differ for every kind of colour vision.
BLUE, VERMILION, GRAY = "#0072B2", "#D55E00", "#777777"

ABOVE: dict[str, Any] = {"loc": "lower center", "bbox_to_anchor": (0.5, 1), "ncols": 2, "frameon": False}


def draw(study: Study, sweep_dir: Path) -> list[Path]:
    """Write the pictures that the study has enough trials for; returns their paths."""
    whole = [trial for trial in study.trials if trial.state == TrialState.COMPLETE]
    names, made = study.settings.objectives, dict[str, Any]()
    if whole:
        made["history.png"] = history(study.trials, names)
    if len(whole) > 1:
        made["importance.png"] = importance(study)
    if whole and len(names) > 1:
        made["pareto.png"] = pareto(whole, study.optuna.best_trials, names)
    for name, figure in made.items():
        with replacing(sweep_dir / name) as partial:
            figure.savefig(partial, dpi=120, format="png")
    return [sweep_dir / name for name in made]


def _panels(titles: Sequence[str], width: float, height: float) -> tuple["Figure", list["Axes"]]:
    from matplotlib.figure import Figure  # takes half a second to import

    figure = Figure(figsize=(width * len(titles), height), layout="constrained", facecolor="white")
    return figure, list(figure.subplots(1, len(titles), squeeze=False)[0])


def history(trials: Sequence[Any], objectives: Sequence[str]) -> "Figure":
    """Draw each objective against the trials' numbers, a panel each, with the best value so far as a line.

    Pruned trials are open marks at the values of their last evaluations, failed ones crosses on the lower edge.
    """
    from matplotlib.ticker import MaxNLocator

    figure, panels = _panels(objectives, 6.4, 4.2)
    kinds = {state: [t for t in trials if t.state == state] for state in TrialState}
    whole, pruned, failed = (kinds[state] for state in (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL))
    for index, (axes, name) in enumerate(zip(panels, objectives, strict=True)):
        numbers, values = [t.number for t in whole], [t.values[index] for t in whole]
        axes.step(numbers, np.maximum.accumulate(values), where="post", color=VERMILION, label="best so far")
        axes.plot(numbers, values, "o", color=BLUE, label="mean over seeds")
        if pruned:
            axes.plot([t.number for t in pruned], [t.values[index] for t in pruned], "o", color=GRAY,
                      markerfacecolor="none", label="pruned, at its last evaluation")  # fmt: skip
        if failed:
            low = [axes.get_ylim()[0] for _ in failed]
            axes.plot([t.number for t in failed], low, "x", color="black", label="failed")
        axes.set(xlabel="trial", ylabel=name)
        axes.grid(alpha=0.3)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.legend(**ABOVE)
    return figure


def importance(study: Study) -> "Figure":
    """Draw the importance of each parameter for each objective, a panel each (PED-ANOVA, arXiv:2304.10255)."""
    objectives = study.settings.objectives
    figure, panels = _panels(objectives, 7.2, 1.2 + 0.45 * len(study.settings.space))
    for index, (axes, name) in enumerate(zip(panels, objectives, strict=True)):
        found = importances(study, index)
        keys = sorted(found, key=lambda key: found[key])
        bars = axes.barh([key.rpartition(".")[2] for key in keys], [found[key] for key in keys], color=BLUE)
        axes.bar_label(bars, fmt="%.2f", padding=3)
        axes.set(xlabel=f"importance for {name}", xlim=(0, 1.1 * max(*found.values(), 0.1)))
    return figure


def importances(study: Study, objective: int) -> dict[str, float]:
    """The share of each parameter in what makes the best tenth of the trials of an objective; the sum is 1."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of few trials, which the number of points in the history shows
        shares: dict[str, float] = optuna.importance.get_param_importances(
            study.optuna, target=lambda trial: -trial.values[objective]
        )
    return shares


def pareto(trials: Sequence[Any], front: Sequence[Any], objectives: Sequence[str]) -> "Figure":
    """Draw each pair of objectives against each other, a panel each; trials of the front are larger, and joined."""
    pairs = list(itertools.combinations(range(len(objectives)), 2))
    figure, panels = _panels(["" for _ in pairs], 5.6, 4.6)
    for axes, (x, y) in zip(panels, pairs, strict=True):
        axes.plot([t.values[x] for t in trials], [t.values[y] for t in trials], "o", color=GRAY, label="trial")
        best = sorted(front, key=lambda trial: trial.values[x])
        axes.plot([t.values[x] for t in best], [t.values[y] for t in best], "o-", color=VERMILION, markersize=8,
                  label="Pareto front")  # fmt: skip
        for trial in best:
            axes.annotate(str(trial.number), (trial.values[x], trial.values[y]), xytext=(6, 4),
                          textcoords="offset points")  # fmt: skip
        axes.set(xlabel=objectives[x], ylabel=objectives[y])
        axes.grid(alpha=0.3)
        axes.legend(**ABOVE)
    return figure
