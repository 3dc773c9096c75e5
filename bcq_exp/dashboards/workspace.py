"""Make a workspace in Weights & Biases: curves, final scores, swept keys, diagnostics and throughput side by side.

A saved view for each dataset. Without a login its specification is written to `wandb_workspace.json` only. The same
command updates what it has saved.
"""

import argparse

from bcq_exp.dashboards.saving import Dashboard, check_packages, deliver, owner
from bcq_exp.dashboards.subject import add_arguments, asked

__all__ = ["FILE", "add_arguments", "run"]
FILE = "wandb_workspace.json"


def run(options: argparse.Namespace) -> int:
    """Make the views and save them; returns the exit code.

    Raises:
        ValueError: the runs cannot be read, there is no such baseline, or W&B cannot be reached.
    """
    check_packages()
    from bcq_exp.dashboards.workspace_view import workspace_view  # an extra, and takes a second

    subject, folder = asked(options)
    entity = owner(subject.entity)
    dashboards = []
    for comparison in subject.comparisons:
        view = workspace_view(subject, comparison, entity, options.baseline)
        dashboards.append(Dashboard(view.name, view, ("name", "sections", "settings", "runset_settings"), view))
    deliver(dashboards, folder / FILE, entity)
    return 0
