"""Run directories as they stand on a W&B server after they were uploaded."""

import csv
import json
from pathlib import Path
from typing import Any

from bcq_exp.io.files import read_json, write_json
from bcq_exp.io.loggers.wandb import KEPT
from wandb_server import Run, WandbServer

PERF = ("updates_per_second", "compile_seconds", "num_members")


def label(directory: Path, *, group: str, project: str = "bcq_exp") -> None:
    """Give the runs of a directory the names under which W&B would have them, their directories' names as ids."""
    for path in directory.rglob("summary.json"):
        names = {"run_id": path.parent.name, "entity": None, "project": project, "group": group}
        write_json(path.parent / KEPT, names)


def upload(server: WandbServer, directory: Path, *, group: str, project: str = "bcq_exp", **summary: Any) -> None:
    """Put the runs of a directory on the server, with further figures in their summaries; None takes one away."""
    label(directory, group=group, project=project)
    if project not in server.projects:
        server.projects.append(project)
    for path in sorted(directory.rglob("summary.json")):
        facts = {**read_json(path), **summary}
        run_id = path.parent.name
        figures = {f"perf/{key}" if key in PERF else key: value for key, value in facts.items() if value is not None}
        with (path.parent / "metrics.csv").open(newline="") as file:
            rows = [{key: float(value) for key, value in row.items() if value} for row in csv.DictReader(file)]
        history = [json.dumps({**row, "update": int(row["update"]), "_step": int(row["update"])}) for row in rows]
        run = server.runs[run_id] = Run(project, run_id, len(server.runs) + 1, state="finished")
        run.attributes = {"groupName": group, "jobType": facts.get("algorithm"), "displayName": f"shown {run_id}"}
        run.files = {
            "wandb-history.jsonl": dict(enumerate(history)),
            "wandb-summary.json": {0: json.dumps({key: value for row in rows for key, value in row.items()} | figures)},
        }
