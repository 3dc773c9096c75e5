"""Make a workspace in Weights & Biases: curves, final scores, swept keys, diagnostics and throughput side by side.

A saved view for each dataset. Without a login its specification is written to `wandb_workspace.json` only. The same
command updates what it has saved.
"""

import argparse

from bcq_exp.dashboards.saving import Dashboard, make
from bcq_exp.dashboards.subject import EXAMPLES, Subject, add_arguments

__all__ = ["EXAMPLES", "FILE", "add_arguments", "run"]
FILE = "wandb_workspace.json"


def run(options: argparse.Namespace) -> int:
    """Make the views and save them; see `make`."""
    return make(options, FILE, views)


def views(subject: Subject, entity: str, baseline: str | None) -> list[Dashboard]:
    """A view for each comparison, as `workspace_view`."""
    from bcq_exp.dashboards.workspace_view import workspace_view  # an extra, and takes a second

    made = [workspace_view(subject, comparison, entity, baseline) for comparison in subject.comparisons]
    return [Dashboard(view.name, view, ("name", "sections", "settings", "runset_settings"), view) for view in made]
