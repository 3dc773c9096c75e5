"""The saved view of a W&B workspace that shows one comparison."""

import wandb_workspaces.workspaces as ws
from wandb_workspaces.reports.v2 import MarkdownPanel

from bcq_exp.analysis.comparison import Comparison
from bcq_exp.dashboards import panels
from bcq_exp.dashboards.subject import Subject

MOST_RUNS = 1000  # that W&B draws in a workspace; its own default is 10
MOST_PINNED = 20  # runs
COLUMNS = (
    "run:displayName",
    "summary:final_return",
    "summary:final_normalized_score",
    "summary:last_10_return",
    "summary:behaviour_return",
    "summary:perf/updates_per_second",
)


def workspace_view(subject: Subject, comparison: Comparison, entity: str, baseline: str | None) -> ws.Workspace:
    """The view: runs grouped by algorithm, then by what was swept; a run of each row pinned, the baseline's first.

    Args:
        subject: the runs.
        comparison: one of the subject's.
        entity: the owner of the project; empty where nobody is logged in.
        baseline: a row's name or an algorithm; None: the best row.

    Raises:
        ValueError: there is no such row.
    """
    first = subject.baseline(comparison, baseline)
    rows = [first, *(row for row in comparison.rows if row.finished and row is not first)]
    keys = [ws.Config(key) for key in panels.swept_keys(comparison)]
    table = ws.Section(
        name="Table",
        panels=[MarkdownPanel(markdown=panels.table(comparison), layout=panels.WIDE)],
        is_open=True,
        layout_settings=ws.SectionLayoutSettings(columns=1, rows=1),
    )
    sections = [
        ws.Section(
            name=part.title,
            panels=list(part.panels),
            is_open=part.is_open,
            layout_settings=ws.SectionLayoutSettings(columns=2, rows=2),
            panel_settings=ws.SectionPanelSettings(x_axis="update"),
        )
        for part in panels.parts(comparison, subject.metrics)
    ]
    return ws.Workspace(
        entity=entity,
        project=subject.project,
        name=f"{subject.title}: {comparison.dataset}",
        sections=[table, *sections],
        settings=ws.WorkspaceSettings(x_axis="update", max_runs=MOST_RUNS),
        runset_settings=ws.RunsetSettings(
            filters=panels.filters(subject, comparison),
            groupby=[ws.Metric("JobType"), *keys],
            order=[ws.Ordering(ws.Summary("final_return"), ascending=False)],
            group_colors=dict(panels.colours(comparison)),
            pinned_columns=list(COLUMNS),
            baseline_run=subject.pinned(first),
            pinned_runs=[subject.pinned(row) for row in rows[:MOST_PINNED]],
        ),
    )
