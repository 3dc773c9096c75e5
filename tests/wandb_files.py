"""The files of W&B's offline runs, read back."""

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bcq_exp.io.loggers.wandb_file import split


def wandb_records(path: Path) -> Iterator[Any]:
    """The records of a `.wandb` file."""
    pb = pytest.importorskip("wandb.proto.wandb_internal_pb2")
    return map(pb.Record.FromString, split(path.read_bytes()))


def wandb_values(items: Any) -> dict[str, Any]:
    """Keys and values of a W&B config, history or summary."""
    return {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in items}


def wandb_history(path: Path) -> list[dict[str, Any]]:
    """The rows of a `.wandb` file, in its order, without W&B's own keys."""
    found = [wandb_values(record.history.item) for record in wandb_records(path) if record.HasField("history")]
    return [{key: value for key, value in row.items() if not key.startswith("_")} for row in found]


def logged_rows(run_dir: Path) -> list[dict[str, float]]:
    """The rows of a run's `metrics.csv`, without the fields that are empty."""
    with (run_dir / "metrics.csv").open(newline="") as file:
        return [{key: float(value) for key, value in row.items() if value} for row in csv.DictReader(file)]
