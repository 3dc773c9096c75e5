"""Refusals of files that are not read, with their kind and what to write instead."""

import csv
from pathlib import Path

from bcq_exp.data.formats import hdf5, layouts
from bcq_exp.data.formats.tables.arrow import PARQUET

PICKLES = (".pkl", ".pickle", ".p", ".joblib", ".pt", ".pth")
KINDS = {  # by how they begin
    b"\x93NUMPY": "an .npy file, which holds one array",
    b"\x1f\x8b": "a gzip'd file; unpack it",
    b"MATLAB 5.0": "a MATLAB file",
    b"SQLite format": "a database",
    b"{": "a JSON file",
    b"[": "a JSON file",
}
REMEDY = (
    "write its columns with numpy.savez('data.npz', observations=..., actions=..., rewards=..., terminals=..., "
    "next_observations=...); `bcq-collect inspect --layouts` prints what else is read"
)
TABLE_REMEDY = (
    "name its columns: dataset=table 'dataset.columns={obs: ..., act: ..., rew: ...}', or --columns with inspect and"
    " convert"
)
SNIFFED = 2**16  # bytes


def head(path: Path) -> bytes:
    """Read the first bytes of a file.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it cannot be read, or it is or may be a pickle, which could run code.
    """
    try:
        with path.open("rb") as file:
            begin = file.read(SNIFFED)
    except FileNotFoundError:
        raise FileNotFoundError(f"{path}: no such file") from None
    except OSError as error:
        raise ValueError(f"{path}: not readable ({error.strerror})") from None
    if begin[:1] == b"\x80" and begin[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05"):
        raise ValueError(f"{path}: a pickle, which can run code as it is read, and is never read; {REMEDY}")
    if path.suffix in PICKLES and not begin.startswith(hdf5.SIGNATURE):
        raise ValueError(f"{path}: {path.suffix} files hold pickles, which can run code, and are never read; {REMEDY}")
    return begin


def refuse(path: Path, begin: bytes) -> None:
    """Raise ValueError for a file of a kind that is known and not read, with what to do about it.

    Args:
        path: of the file.
        begin: its first bytes, as `head` gives them.
    """
    if begin.startswith(PARQUET):
        raise ValueError(f"{path}: a Parquet file; {TABLE_REMEDY}")
    for signature, kind in KINDS.items():
        if begin.startswith(signature):
            raise ValueError(f"{path}: {kind}; {REMEDY}")
    if fields := _fields(begin):
        raise ValueError(layouts.unknown(str(path), "a text file with columns", fields) + f"; or {TABLE_REMEDY}")


def _fields(head: bytes) -> list[str]:
    """The fields of a table's first line; empty where a file does not begin with one."""
    try:
        lines = head.decode().splitlines()
    except UnicodeDecodeError as error:
        lines = head[: error.start].decode().splitlines() if error.start > len(head) - 4 else []
    if not lines or "\0" in lines[0]:
        return []
    try:
        fields = max((next(csv.reader(lines[:1], delimiter=each)) for each in ",;\t"), key=len)
    except (csv.Error, StopIteration):
        return []
    return [field.strip() for field in fields] if len(fields) > 1 else []
