"""The file of an offline W&B run, made from what is in a run directory; W&B's own process is not needed.

RUN/wandb.json                                      the names under which W&B files the run
RUN/wandb/offline-run-DATE-ID/run-ID.wandb          each row of `metrics.csv` once
RUN/wandb/earlier/                                  files of the same run that it took the place of

`wandb sync` uploads the file, and `wandb leet` shows it. It has a header of 7 bytes, then protobuf records in LevelDB's
log format (https://github.com/google/leveldb/blob/main/doc/log_format.md) with the checksum of zlib over kind and data.
"""

import csv
import json
import os
import shlex
import shutil
import struct
import time
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

from bcq_exp.io.files import read_json, write_bytes
from bcq_exp.io.loggers.form import LoggedRun
from bcq_exp.io.summary import LAST, SUMMARY

KEPT = "wandb.json"  # in a run directory: the names of its W&B run
FOLDER, EARLIER = "wandb", "earlier"
HEADER = struct.pack("<4sHB", b":W&B", 0xBEE1, 0)
BLOCK = 32_768  # bytes; a record's part lies in one block
WHOLE, BEGIN, MIDDLE, END = 1, 2, 3, 4  # kinds of a record's parts
STEP = "update"  # the x axis
# Figures of `summary.json` about speed, which W&B shows as `perf/NAME`.
PERF = ("updates_per_second", "compile_seconds", "num_members")


@dataclass(frozen=True)
class Labels:
    """What W&B files a run under.

    Args:
        run_id: of the run, the same as long as its directory is there.
        entity: user or team; None for the user's own.
        project: of the entity.
        group: the runs that are compared as one.
        job_type: the kind of run.
        name: the name shown.
        tags: words to filter by.
        began: seconds since 1970, when the run began.
    """

    run_id: str
    entity: str | None
    project: str
    group: str
    job_type: str
    name: str
    tags: tuple[str, ...]
    began: int


def write_offline_run(run: LoggedRun, labels: Labels) -> Path:
    """Write the file of an offline run from `metrics.csv` and, where the run has ended, `summary.json`.

    A file that is there already with the same content stays as it is, and so does W&B's mark beside it that it was
    uploaded. Otherwise it is written whole, and earlier offline files of this run are moved to `wandb/earlier/`.

    Returns:
        The directory `offline-run-DATE-ID`.

    Raises:
        ValueError: `metrics.csv` or `summary.json` is damaged.
        OSError: a file cannot be read or written.
    """
    date = time.strftime("%Y%m%d_%H%M%S", time.localtime(labels.began))
    folder = run.run_dir / FOLDER / f"offline-run-{date}-{labels.run_id}"
    path = folder / f"run-{labels.run_id}.wandb"
    content = joined(_records(run, labels))
    set_aside(run.run_dir, labels.run_id, kept=folder)
    (folder / "files").mkdir(parents=True, exist_ok=True)
    if not path.exists() or path.read_bytes() != content:
        path.with_suffix(".wandb.synced").unlink(missing_ok=True)
        write_bytes(path, content)
    return folder


def set_aside(run_dir: Path, run_id: str, kept: Path | None = None) -> None:
    """Move the offline files of a W&B run to `wandb/earlier/`, but for the directory `kept`."""
    for other in sorted((run_dir / FOLDER).glob(f"offline-run-*-{run_id}")):
        if other != kept:
            aside = other.parent / EARLIER / other.name
            aside.parent.mkdir(exist_ok=True)
            shutil.rmtree(aside, ignore_errors=True)
            os.replace(other, aside)


def read_rows(path: Path) -> list[dict[str, float]]:
    """The rows of a `metrics.csv`, without the metrics that a row lacks; a last row that a kill cut is left out.

    Raises:
        ValueError: the file is damaged.
        OSError: the file cannot be read.
    """
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True) if path.exists() else []
    whole = [line for line in lines if line.endswith("\n")]
    try:
        return [
            {STEP: int(row[STEP])} | {key: float(value) for key, value in row.items() if value and key != STEP}
            for row in csv.DictReader(whole)
        ]
    except (ValueError, KeyError, TypeError, csv.Error):
        raise ValueError(
            f"{path} was damaged after it was written; resume={path.parent} writes it anew from the last checkpoint"
        ) from None


def shown_config(run: LoggedRun) -> dict[str, Any]:
    """The configuration that W&B shows of a run; under `data` the source, the digest and the size of its dataset."""
    return {**run.config, "data": run.manifest.get("dataset", {})}


def final_figures(run: LoggedRun, rows: list[dict[str, float]], summary: Mapping[str, Any]) -> dict[str, Any]:
    """What W&B's table shows of a run: the behaviour's return, the entries of its summary, and `last_10_return`.

    Args:
        run: the run.
        rows: of its `metrics.csv`.
        summary: of its `summary.json`; empty where it has not ended. Figures of speed are named `perf/NAME`.
    """
    summary = {"behaviour_return": run.manifest.get("dataset", {}).get("behaviour_return"), **summary}
    returns = [row["eval/return"] for row in rows if "eval/return" in row][-LAST:]
    figures = {f"perf/{key}" if key in PERF else key: value for key, value in summary.items() if value is not None}
    return figures | ({f"last_{LAST}_return": sum(returns) / len(returns)} if returns else {})


def exit_code(summary: Mapping[str, Any]) -> int:
    """0 for a run that has finished or was pruned; 1, W&B's `failed`, for one that has failed or not ended."""
    return 0 if summary and summary["status"] != "failed" else 1


def _records(run: LoggedRun, labels: Labels) -> Iterator[bytes]:
    """The run's records in the order of W&B's own client, serialised."""
    pb: Any = import_module("wandb.proto.wandb_internal_pb2")  # with it all of wandb, which takes half a second
    path = run.run_dir / SUMMARY
    summary = read_json(path, f"resume={run.run_dir} writes it anew") if path.exists() else {}
    rows = read_rows(run.run_dir / "metrics.csv")
    figures = final_figures(run, rows, summary)
    seconds = summary["num_updates"] / summary["updates_per_second"] if summary.get("updates_per_second") else 0
    named = {key: value for key, value in asdict(labels).items() if key in NAMED and value is not None}
    git = {"commit": run.manifest.get("git_revision") or ""}
    env = pb.EnvironmentRecord(
        os=run.manifest.get("platform"),
        python=run.manifest.get("python"),
        host=run.manifest.get("host"),
        args=shlex.split(run.manifest.get("command", ""))[1:],
        executable="python",
        git=git,
        started_at={"seconds": labels.began},
    )
    begun = pb.RunRecord(
        **named,
        run_group=labels.group,
        display_name=labels.name,
        config={"update": _items(shown_config(run))},
        host=run.manifest.get("host"),
        git=git,
        start_time={"seconds": labels.began},
    )
    x_axis = pb.MetricRecord(name=STEP, options={"defined": True})
    others = pb.MetricRecord(glob_name="*", step_metric=STEP, options={"defined": True, "step_sync": True})
    last_values = {key: value for row in rows for key, value in row.items()}
    records = [
        pb.Record(header={"version_info": {"producer": version("wandb"), "min_consumer": "0.70.0"}}),
        pb.Record(run=begun),
        pb.Record(environment=env),
        pb.Record(metric=x_axis),
        pb.Record(metric=others),
        *(pb.Record(history={"item": _items(row | {"_step": row[STEP]}), "step": {"num": row[STEP]}}) for row in rows),
        pb.Record(summary={"update": _items(last_values | figures)}),
        pb.Record(exit={"exit_code": exit_code(summary), "runtime": int(seconds)}),
    ]
    for number, record in enumerate(records, start=1):
        record.num = number
        yield record.SerializeToString(deterministic=True)


NAMED = ("run_id", "entity", "project", "job_type", "tags")  # labels whose name in a record is the same


def _items(values: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Keys and values of a config, history or summary, as W&B keeps them."""
    return [{"nested_key": [key], "value_json": json.dumps(value)} for key, value in values.items()]


def joined(records: Iterable[bytes]) -> bytes:
    """The content of a file of these records."""
    return HEADER + b"".join(_parts(records))


def split(content: bytes) -> Iterator[bytes]:
    """Yield the records of a file's content; the last one that a kill cut, and those after damage, are left out."""
    offset, record = len(HEADER), b""
    while offset + 7 <= len(content):
        if (left := BLOCK - offset % BLOCK) < 7:
            offset += left
            continue
        checksum, length = struct.unpack_from("<IH", content, offset)
        tail = content[offset + 6 : offset + 7 + length]
        if zlib.crc32(tail) != checksum:
            return
        record += tail[1:]
        offset += 6 + len(tail)
        if tail[0] in (WHOLE, END):
            yield record
            record = b""


def _parts(records: Iterable[bytes]) -> Iterator[bytes]:
    """The records, cut where a block ends; each part has its checksum, length and kind before it."""
    offset = len(HEADER)
    for record in records:
        kind = BEGIN
        while True:
            if (left := BLOCK - offset % BLOCK) < 7:  # too short for the head of a part
                yield bytes(left)
                offset, left = offset + left, BLOCK
            part, record = record[: left - 7], record[left - 7 :]
            if not record:
                kind = WHOLE if kind == BEGIN else END
            tail = bytes([kind]) + part
            yield struct.pack("<IH", zlib.crc32(tail), len(part)) + tail
            offset += 6 + len(tail)
            if not record:
                break
            kind = MIDDLE
