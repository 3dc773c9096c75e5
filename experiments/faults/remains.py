"""Comparison of two folders: equal except for times, and without files that a killed process left behind."""

import csv
import io
import json
import struct
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np

# Figures that say how long something took; all others must be equal.
TIMES = frozenset({"updates_per_second", "compile_seconds", "seconds"})
# Where a result came from, which is not the same for a command and for one that went on with it.
ORIGINS = frozenset({"command", "sha256"})
# Kept to be looked at: logs, W&B's own files, submitit's, Hydra's with the paths of its folder, pictures, tables with
# the speed of runs; locks, which stay.
OWN_FILES = ("*.log", "*.lock", "*.stacks", "wandb", "wandb.json", "submitit", ".hydra", "multirun.yaml", "*.png",
             "tables.*", "report.html")  # fmt: skip
LEFT_BEHIND = "left behind: "
UNREAD_FILES = ("training.json", "training.pt")  # of an agent's training that has ended


def files(folder: Path) -> dict[str, Path]:
    """List the files to compare and the empty folders, by their paths relative to `folder`."""
    found: dict[str, Path] = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder)
        if any(part.match(pattern) for part in map(Path, name.parts) for pattern in OWN_FILES):
            continue
        if path.is_file() or not any(path.iterdir()):
            found[name.as_posix()] = path
    return found


def differences(whole: Path, broken: Path) -> list[str]:
    """List files that differ, are missing, or should not be there, a line each.

    Args:
        whole: folder of a command that nothing disturbed.
        broken: folder of the same command that was killed and went on.
    """
    ours, theirs = files(whole), files(broken)
    found = [f"missing: {name}" for name in ours if name not in theirs]
    found += [f"{LEFT_BEHIND}{name}" for name in theirs if name not in ours]
    for name in (name for name in ours if name in theirs):
        read = next((read for pattern, read in READERS.items() if Path(name).match(pattern)), Path.read_bytes)
        if not any(Path(name).match(pattern) for pattern in UNREAD_FILES) and read(ours[name]) != read(theirs[name]):
            found.append(f"differs: {name}")
    return found


def plain(path: Path) -> Any:
    """JSON without times and origins."""
    return _without(json.loads(path.read_text(encoding="utf-8")), TIMES | ORIGINS)


def dataset(path: Path) -> Any:
    """A manifest's facts about the dataset, without its path."""
    return _without(json.loads(path.read_text(encoding="utf-8"))["dataset"], frozenset({"source"}))


def state(path: Path) -> Any:
    """A checkpoint's nested state without times; its checksums cover the bytes of the tensors."""
    return _without(json.loads(path.read_text(encoding="utf-8"))["state"], TIMES)


def table(path: Path) -> bytes:
    """A CSV file without its columns of times; its bytes where it has none."""
    content = path.read_bytes()
    rows = list(csv.DictReader(io.StringIO(content.decode())))
    if not rows or not TIMES & rows[0].keys():
        return content
    return json.dumps([_without(row, TIMES) for row in rows]).encode()


def columns(path: Path) -> dict[str, Any]:
    """Datasets of an HDF5 file, each with its type, shape and bytes."""
    with h5py.File(path, "r") as file:
        found = {name: np.asarray(item[()]) for name, item in file.items()}
    return {name: (str(column.dtype), column.shape, column.tobytes()) for name, column in found.items()}


READERS: Mapping[str, Callable[[Path], Any]] = {
    "checkpoints/*/state.json": state,
    "manifest.json": dataset,
    "*.json": plain,
    "*.csv": table,
    "*.h5": columns,
}


def _without(tree: Any, keys: frozenset[str]) -> Any:
    if isinstance(tree, dict):
        return {key: _without(value, keys) for key, value in tree.items() if key not in keys}
    return [_without(item, keys) for item in tree] if isinstance(tree, list) else tree


def lost_wandb_rows(folder: Path) -> list[str]:
    """List metrics of W&B runs below `folder` that are in none of W&B's files, a line a run."""
    found: list[str] = []
    for path in sorted(path.with_name("metrics.csv") for path in folder.rglob("wandb.json")):
        kept: set[tuple[int, str, str]] = set()
        for log in sorted(path.parent.glob("wandb/offline-run-*/*.wandb")):
            kept |= {metric for row in wandb_rows(log) for metric in row}
        with path.open(newline="", encoding="utf-8") as file:
            wanted = {metric for row in csv.DictReader(file) for metric in _metrics(row)}
        if lost := sorted({update for update, _, _ in wanted - kept}):
            found.append(f"W&B lacks updates of {path.parent.name}: {', '.join(map(str, lost))}")
    return found


def wandb_rows(path: Path) -> Iterator[list[tuple[int, str, str]]]:
    """Read a `.wandb` file as lists of update, metric and value, up to a record that a kill cut."""
    from wandb.proto import wandb_internal_pb2

    for content in wandb_records(path.read_bytes()):
        record = wandb_internal_pb2.Record.FromString(content)
        if record.HasField("history"):
            items = {item.key or "/".join(item.nested_key): item.value_json for item in record.history.item}
            yield _metrics({key: json.loads(value) for key, value in items.items() if not key.startswith("_")})


def _metrics(row: Mapping[str, Any]) -> list[tuple[int, str, str]]:
    """Update, metric and value of each field that is not empty; values as text, so that nan is equal to nan."""
    fields = [(key, value) for key, value in row.items() if key != "update" and value != ""]
    return [(int(float(row["update"])), key, repr(float(value))) for key, value in fields]


def wandb_records(data: bytes) -> Iterator[bytes]:
    """Yield the records of a `.wandb` file: a header of 7 bytes, then LevelDB's log format in blocks of 32 KiB."""
    offset, record = 7, b""
    while offset + 7 <= len(data):
        if 32768 - offset % 32768 < 7:  # the rest of a block is too short for a record's header
            offset += 32768 - offset % 32768
            continue
        _, length, kind = struct.unpack_from("<IHB", data, offset)
        if kind == 0 or offset + 7 + length > len(data):
            return
        record += data[offset + 7 : offset + 7 + length]
        offset += 7 + length
        if kind in (1, 4):  # a whole record, or the last part of one
            yield record
            record = b""
