"""The panels of a W&B workspace or report, in parts that answer one question each.

Curves are of groups of runs: the mean, in a band of one deviation to either side. The x axis is the number of updates.
"""

import colorsys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import wandb_workspaces.reports.v2 as wr
from wandb_workspaces import expr

from bcq_exp.algorithms import REGISTRY
from bcq_exp.analysis.comparison import Comparison
from bcq_exp.analysis.figures import is_logarithmic
from bcq_exp.analysis.grid import Grid
from bcq_exp.analysis.sweeps import Sweep, swept
from bcq_exp.analysis.tables import differences, over_seeds
from bcq_exp.dashboards.subject import Subject, config_key

BY_ALGORITHM = wr.Metric("JobType")  # the algorithm is a run's job type
# W&B draws no horizontal lines. This one has the x values of the curve (syntax: W&B's line plot reference).
BEHAVIOUR = "0 * ${eval/return} + ${summary:behaviour_return}"
SPEED = ("perf/updates_per_second", "perf/compile_seconds")
TOGETHER = (  # metrics that are worth comparing in one panel, with its title
    ("What the values promise, and what the data returned", ("diagnostics/q_policy", "diagnostics/return_logged")),
    ("Values of logged actions, and of the policy's", ("diagnostics/q_logged", "diagnostics/q_policy")),
)
HALF, WIDE = wr.Layout(w=12, h=8), wr.Layout(w=24, h=10)  # of the 24 columns of a report


@dataclass(frozen=True)
class Part:
    """Panels that answer a question together.

    Args:
        title: its name.
        question: what a reader learns from it.
        panels: of wandb-workspaces.
        is_open: whether a workspace shows it before it is clicked.
        algorithm: whose runs they are about; None: all.
    """

    title: str
    question: str
    panels: Sequence[Any]
    is_open: bool = True
    algorithm: str | None = None


def parts(comparison: Comparison, metrics: Sequence[str]) -> list[Part]:
    """The parts that show a comparison whose runs logged these metrics; one without panels is left out."""
    is_scored = "eval/normalized_score" in metrics and any(row.scores for row in comparison.rows if row.finished)
    diagnosed = [name for name in metrics if name.startswith("diagnostics/")]
    trained = [name for name in metrics if name.startswith("train/")]
    found = [
        Part(
            "Learning curves",
            "Which algorithm learns most and how fast, how much do its seeds differ, and does it beat its data?",
            [
                curve("Return, and the behaviour's", "eval/return", custom_expressions=["${eval/return}", BEHAVIOUR]),
                *([curve("Normalised score", "eval/normalized_score")] if is_scored else []),
                *([curve("Length of an episode", "eval/length")] if "eval/length" in metrics else []),
            ],
        ),
        Part(
            "Final scores",
            "Where does each end, at its last evaluation and over the last ten, beside the mean return of its data?",
            [
                bars("Final return, and the behaviour's", "final_return", "behaviour_return"),
                bars("Mean return of the last 10 evaluations", "last_10_return"),
                *([bars("Final normalised score", "final_normalized_score")] if is_scored else []),
            ],
        ),
        *of_sweeps(swept(comparison)),
        Part(
            "Value diagnostics",
            "Are the values believable: near what the data returned, or far above, as where actions were never tried?",
            [
                *(curve(title, *names) for title, names in TOGETHER if {*names} <= {*diagnosed}),
                *(curve(name, name) for name in diagnosed),
            ],
        ),
        Part("Losses", "Does training go on, or has it diverged?", [curve(name, name) for name in trained], False),
        Part(
            "Throughput",
            "How many updates a second did each run make, and how long was it compiled?",
            [bars(name.removeprefix("perf/").replace("_", " ").capitalize(), name) for name in SPEED],
            False,
        ),
        Part(
            "Runs side by side",
            "In which settings and figures do single runs differ?",
            [wr.RunComparer(diff_only="split", layout=WIDE)],
            False,
        ),
    ]
    return [part for part in found if part.panels]


def curve(title: str, *names: str, groupby: Any = BY_ALGORITHM, **options: Any) -> Any:
    """Metrics against updates."""
    return wr.LinePlot(
        title=title,
        x="update",
        y=list(names),
        title_x="updates",
        groupby=groupby,
        groupby_aggfunc="mean",
        groupby_rangefunc="stddev",
        layout=HALF,
        **options,
    )


def bars(title: str, *names: str, groupby: Any = BY_ALGORITHM) -> Any:
    """Entries of the runs' summaries."""
    return wr.BarPlot(
        title=title,
        metrics=list(names),
        groupby=groupby,
        groupby_aggfunc="mean",
        groupby_rangefunc="stddev",
        layout=HALF,
    )


def of_sweeps(sweeps: Sequence[Sweep]) -> Iterator[Part]:
    """A part for each sweep; its title has the keys where one algorithm has several."""
    num_sweeps = Counter(sweep.algorithm for sweep in sweeps)
    for sweep in sweeps:
        keys = f": {', '.join(sweep.names)}" if num_sweeps[sweep.algorithm] > 1 else ""
        yield of_sweep(sweep, f"Swept keys of {sweep.algorithm}{keys}")


def of_sweep(sweep: Sweep, title: str) -> Part:
    """Parallel coordinates and importance of the swept keys; for each key, curves and final returns by its values."""
    keys = [wr.Config(config_key(key)) for key in sweep.keys]
    logarithmic = [is_logarithmic([row.settings[key] for row in sweep.rows]) for key in sweep.keys]
    columns = [
        wr.ParallelCoordinatesPlotColumn(key, display_name=name, log=is_log)
        for key, name, is_log in zip(keys, sweep.names, logarithmic, strict=True)
    ]
    final = wr.ParallelCoordinatesPlotColumn(wr.SummaryMetric("final_return"), display_name="final return")
    found = [
        wr.ParallelCoordinatesPlot(title="Settings and final return", columns=[*columns, final], layout=WIDE),
        wr.ParameterImportancePlot(with_respect_to="final_return", layout=HALF),
    ]
    for key, name in zip(keys, sweep.names, strict=True):
        found.append(curve(f"Return by {name}", "eval/return", groupby=key))
        found.append(bars(f"Final return by {name}", "final_return", groupby=key))
    question = f"How does the return depend on {', '.join(sweep.names)}: what matters, and which values are best?"
    return Part(title, question, found, algorithm=sweep.algorithm)


def swept_keys(comparison: Comparison) -> list[str]:
    """The keys that some algorithm was swept over, as W&B's configuration has them."""
    return list(dict.fromkeys(config_key(key) for sweep in swept(comparison) for key in sweep.keys))


def filters(subject: Subject, comparison: Comparison, algorithm: str | None = None) -> expr.And:
    """What chooses the runs of a comparison: their groups, or, where these have several datasets, their ids.

    A filter by a key of the configuration would need W&B's own place of it, `dataset.value.name`, which its documents
    do not promise.
    """
    if len(subject.comparisons) == 1:
        chosen = expr.Metric("Group").isin(list(subject.groups))
    else:
        chosen = expr.Metric("ID").isin(subject.ids(comparison))
    return expr.And(chosen, *([] if algorithm is None else [expr.Metric("JobType") == algorithm]))


def table(comparison: Comparison) -> str:
    """The tables of a report on the terminal, in Markdown."""
    grids: list[Grid | None] = [over_seeds(comparison), differences(comparison)]
    return "\n".join(grid.markdown() for grid in grids if grid is not None)


def colours(comparison: Comparison) -> dict[str, str]:
    """The colour of each algorithm, the same in every dashboard; an algorithm of other code has one of W&B's.

    Algorithms of one kind of actions, which alone can be compared, have the hues of a circle, dark and light in turn.
    """
    found = {}
    for is_discrete in (False, True):
        names = [name for name, definition in REGISTRY.items() if definition.is_discrete == is_discrete]
        for place, name in enumerate(names):
            parts = colorsys.hls_to_rgb(place / len(names), 0.6 if place % 2 else 0.35, 0.7)
            found[name] = "#" + "".join(f"{round(255 * part):02x}" for part in parts)
    return {row.algorithm: found[row.algorithm] for row in comparison.rows if row.algorithm in found}
