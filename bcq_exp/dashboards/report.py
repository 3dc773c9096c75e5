"""Make a report in Weights & Biases: for each dataset the tables and the panels, with the questions that they answer.

Without a login its specification is written to `wandb_report.json` only. The same command updates what it has saved.
"""

import argparse

from bcq_exp.dashboards.saving import Dashboard, make
from bcq_exp.dashboards.subject import EXAMPLES, Subject, add_arguments

__all__ = ["EXAMPLES", "FILE", "add_arguments", "run"]
FILE = "wandb_report.json"


def run(options: argparse.Namespace) -> int:
    """Make the report and save it; see `make`."""
    return make(options, FILE, reports)


def reports(subject: Subject, entity: str, baseline: str | None) -> list[Dashboard]:
    """The report, as `report_view`; its specification is that for no owner, which asks no server."""
    from bcq_exp.dashboards.report_view import report_view  # an extra, and takes a second

    views = [report_view(subject, each, baseline) for each in dict.fromkeys(["", entity])]
    return [Dashboard(views[0].title, views[-1], ("title", "description", "blocks", "width"), views[0])]
