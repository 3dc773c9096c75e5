"""A W&B report that shows all comparisons of a subject."""

from collections.abc import Sequence
from typing import Any

import wandb_workspaces.reports.v2 as wr

from bcq_exp.analysis.comparison import Comparison
from bcq_exp.analysis.tables import across
from bcq_exp.dashboards import panels
from bcq_exp.dashboards.subject import Subject

MOST_TITLE = 128  # characters that W&B takes


def report_view(subject: Subject, entity: str, baseline: str | None) -> wr.Report:
    """The report: for each dataset the tables, then parts of a question and its panels.

    Args:
        subject: the runs.
        entity: the owner of the project; empty makes a report that names no project, and asks no server.
        baseline: a row's name or an algorithm; None: the best row.

    Raises:
        ValueError: there is no such row.
    """
    blocks: list[Any] = [wr.TableOfContents()]
    if grids := across(subject.comparisons):
        blocks += [wr.H1("Over all datasets"), *(wr.MarkdownBlock(grid.markdown()) for grid in grids)]
    for comparison in subject.comparisons:
        first = subject.baseline(comparison, baseline)
        blocks += [
            wr.H1(comparison.dataset),
            wr.P(f"Baseline: {first.name}. Its median run over the seeds is {subject.pinned(first)}."),
            wr.MarkdownBlock(panels.table(comparison)),
            *of_parts(subject, comparison, entity),
        ]
    return wr.Report(
        entity=entity,
        project=subject.project if entity else "",
        title=subject.title[:MOST_TITLE],
        description="Offline reinforcement learning. Final values are of the last evaluation, never the best one.",
        blocks=blocks,
        width="fluid",
    )


def of_parts(subject: Subject, comparison: Comparison, entity: str) -> Sequence[Any]:
    """The parts of a comparison, each with its runs."""
    blocks: list[Any] = []
    for part in panels.parts(comparison, subject.metrics):
        runs = wr.Runset(
            entity=entity,
            project=subject.project if entity else "",
            name="Runs",
            filters=panels.filters(subject, comparison, part.algorithm),
            groupby=["JobType", *(f"config.{key}" for key in panels.swept_keys(comparison))],
            order=[wr.OrderBy(wr.SummaryMetric("final_return"), ascending=False)],
        )
        colours = {
            wr.RunsetGroup(runset_name="Runs", keys=(wr.RunsetGroupKey(panels.BY_ALGORITHM, algorithm),)): colour
            for algorithm, colour in panels.colours(comparison).items()
        }
        grid = wr.PanelGrid(runsets=[runs], panels=list(part.panels), custom_run_colors=colours)
        blocks += [wr.H2(part.title), wr.P(part.question), grid]
    return blocks
