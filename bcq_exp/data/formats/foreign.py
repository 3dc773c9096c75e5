"""Files of other kinds than those that are read: what they are, and what to write in their place."""

import csv
from pathlib import Path

from bcq_exp.data.formats import layouts

NPZ, HDF5 = b"PK\x03\x04", b"\x89HDF\r\n\x1a\n"
PICKLES = (".pkl", ".pickle", ".p", ".joblib", ".pt", ".pth")
KINDS = {  # by how they begin
    b"\x93NUMPY": "an .npy file, which holds one array",
    b"\x1f\x8b": "a gzip'd file; unpack it",
    b"PAR1": "a Parquet file",
    b"MATLAB 5.0": "a MATLAB file",
    b"SQLite format": "a database",
    b"{": "a JSON file",
    b"[": "a JSON file",
}
REMEDY = (
    "write its columns with numpy.savez('data.npz', observations=..., actions=..., rewards=..., terminals=..., "
    "next_observations=...); `bcq-collect inspect --layouts` prints what else is read"
)
SNIFFED = 2**16  # bytes


def container(path: Path) -> str:
    """What a file is by its first bytes, or by its suffix where it is too short to tell: `npz` or `hdf5`.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is of a kind that is not read, with what to do about it.
    """
    try:
        with path.open("rb") as file:
            head = file.read(SNIFFED)
    except FileNotFoundError:
        raise FileNotFoundError(f"{path}: no such file") from None
    except OSError as error:
        raise ValueError(f"{path}: not readable ({error.strerror})") from None
    if head[:1] == b"\x80" and head[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05"):
        raise ValueError(f"{path}: a pickle, which can run code as it is read, and is never read; {REMEDY}")
    if path.suffix in PICKLES and not head.startswith(HDF5):
        raise ValueError(f"{path}: {path.suffix} files hold pickles, which can run code, and are never read; {REMEDY}")
    if head.startswith(NPZ):
        return "npz"
    if head.startswith(HDF5):
        return "hdf5"
    for begin, kind in KINDS.items():
        if head.startswith(begin):
            raise ValueError(f"{path}: {kind}; {REMEDY}")
    if fields := _fields(head):
        raise ValueError(layouts.unknown(str(path), "a text file with columns", fields) + f"; {REMEDY}")
    return "npz" if path.suffix == ".npz" else "hdf5"


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
