"""Make a report in Weights & Biases: for each dataset the tables and the panels, with the questions that they answer.

Without a login its specification is written to `wandb_report.json` only. The same command updates what it has saved.
"""

import argparse

from bcq_exp.dashboards.saving import Dashboard, check_packages, deliver, owner
from bcq_exp.dashboards.subject import add_arguments, asked

__all__ = ["FILE", "add_arguments", "run"]
FILE = "wandb_report.json"


def run(options: argparse.Namespace) -> int:
    """Make the report and save it; returns the exit code.

    Raises:
        ValueError: the runs cannot be read, there is no such baseline, or W&B cannot be reached.
    """
    check_packages()
    from bcq_exp.dashboards.report_view import report_view  # an extra, and takes a second

    subject, folder = asked(options)
    entity = owner(subject.entity)
    views = [report_view(subject, each, options.baseline) for each in dict.fromkeys(["", entity])]
    made = Dashboard(views[0].title, views[-1], ("title", "description", "blocks", "width"), views[0])
    deliver([made], folder / FILE, entity)
    return 0
