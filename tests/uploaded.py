"""Run directories as they stand on a W&B server after they were uploaded."""

import csv
import json
from pathlib import Path
from typing import Any

import yaml

from bcq_exp.io.files import read_json, write_json
from bcq_exp.io.loggers.wandb_file import KEPT, PERF
from wandb_server import Run, WandbServer


def label(directory: Path, *, group: str, project: str = "bcq_exp") -> None:
    """Give the runs of a directory what `saved_labels` reads, with their directories' names as W&B's ids."""
    logger = {
        "name": "wandb",
        "mode": None,
        "entity": None,
        "project": project,
        "group": None,
        "tags": [],
        "job_type": None,
    }
    for path in directory.rglob("summary.json"):
        facts = read_json(path)
        write_json(path.parent / KEPT, {"run_id": path.parent.name, "group": group, "began": 1})
        (path.parent / ".hydra").mkdir(exist_ok=True)
        config = {key: {"name": facts[key]} for key in ("algorithm", "dataset")}
        for name, content in {"config": {**config, "seed": facts["seed"], "logger": logger}, "overrides": []}.items():
            (path.parent / ".hydra" / f"{name}.yaml").write_text(yaml.safe_dump(content))


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
