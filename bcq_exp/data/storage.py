"""Columns in memory, or in memory-mapped files, of which the kernel keeps the pages in use."""

import math
import mmap
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from numpy.typing import DTypeLike, NDArray

from bcq_exp.io.files import cache_folder

Array = NDArray[Any]

# Share of the machine's memory above which a dataset is large. In memory it is there twice for a while: as it was read,
# and as tensors.
SHARE = 0.25
STORAGES = ("auto", "memory", "mmap")
CHUNK = 2**26  # bytes that are worked on at once
PACKED = 1100  # bytes that one stored byte can unpack to, at most; deflate reaches 1032


def is_large(num_bytes: int) -> bool:
    """Whether `storage=auto` memory-maps a dataset of that size."""
    return num_bytes > SHARE * int(psutil.virtual_memory().total)


def check_declared(num_bytes: int, stored: int) -> None:
    """Raise ValueError where a header declares more bytes than the stored ones can unpack to."""
    if num_bytes > CHUNK and num_bytes > PACKED * stored:
        raise ValueError(f"its header declares {num_bytes / 1e9:,.1f} GB, which {stored:,} stored bytes cannot hold")


def check_memory(num_bytes: int) -> None:
    """Raise ValueError for more bytes than the machine has free memory."""
    if num_bytes > (free := int(psutil.virtual_memory().available)):
        raise ValueError(
            f"{num_bytes / 1e9:,.1f} GB of memory are needed, {free / 1e9:,.1f} GB are free; write the columns to "
            "HDF5, whose large files are not read into memory"
        )


def is_mapped(column: Any) -> bool:
    """Whether an array, or the one that it is a view of, lies in a file."""
    while isinstance(column, np.ndarray):
        column = column.base
    return isinstance(column, mmap.mmap)


def new_mapped(shape: tuple[int, ...], dtype: DTypeLike) -> Array:
    """Make an array of zeros in a nameless file of the cache folder, which is gone with the last use of the array.

    Raises:
        ValueError: the folder cannot be written, or its disk has too little room.
    """
    num_bytes = math.prod(shape) * np.dtype(dtype).itemsize
    with _in_cache() as folder:
        if num_bytes > (free := shutil.disk_usage(folder).free):
            raise OSError(f"{num_bytes / 1e9:.1f} GB are needed, {free / 1e9:.1f} GB are free")
        with tempfile.TemporaryFile(dir=folder) as file:
            os.posix_fallocate(file.fileno(), 0, num_bytes)  # a disk that is full when pages are written would kill us
            return np.memmap(file, dtype, "r+", shape=shape)


class Pieces:
    """A column that comes piece by piece, of a number of rows that nobody knows before.

    Args:
        is_mapped: whether it lies in a nameless file of the cache folder, like one of `new_mapped`.
    """

    def __init__(self, *, is_mapped: bool) -> None:
        self.held: list[Array] = []
        self.file: Any = None
        self.num_rows = 0
        if is_mapped:
            with _in_cache() as folder:
                self.file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 (`joined` closes it)

    def append(self, piece: Array) -> None:
        """Add rows, of the type and shape that all pieces have; raises ValueError where the disk is full."""
        self.num_rows += len(piece)
        if self.file is None or not self.held:
            self.held.append(piece)
        if self.file is not None:
            with _in_cache():
                piece.tofile(self.file)

    def joined(self) -> Array:
        """The whole column; at least one row must have come."""
        if self.file is None:
            return np.concatenate(self.held)
        self.file.flush()
        first = self.held[0]
        with self.file:
            return np.memmap(self.file, first.dtype, "r+", shape=(self.num_rows, *first.shape[1:]))


@contextmanager
def _in_cache() -> Iterator[Path]:
    """The folder of mapped files; an error of the disk inside the block says what to do."""
    folder = cache_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield folder
    except OSError as error:
        raise ValueError(f"cache folder {folder}: {error}; set BCQ_EXP_CACHE to a folder with room") from None


def mapped(column: Array) -> Array:
    """Copy a column into a file; one that lies in a file already is returned as it is."""
    if is_mapped(column):
        return column
    copy = new_mapped(column.shape, column.dtype)
    for rows in chunks(column):
        copy[rows] = column[rows]
    return copy


def taken(column: Array, rows: Array) -> Array:
    """Copy rows of a column, into a file if the column lies in one."""
    made = room(column, len(rows))
    for part in chunks(made):
        made[part] = column[rows[part]]
    return made


def room(column: Array, num_rows: int) -> Array:
    """Make an empty array like a column, of `num_rows` rows: in a file, if the column lies in one."""
    shape = (num_rows, *column.shape[1:])
    return new_mapped(shape, column.dtype) if is_mapped(column) else np.empty(shape, column.dtype)


def chunks(column: Any) -> Iterator[slice]:
    """Cut a column into consecutive slices of at most `CHUNK` bytes (of one row, where that is larger)."""
    num_rows = len(column)
    step = max(1, CHUNK * num_rows // max(column.nbytes, 1))
    for start in range(0, num_rows, step):
        yield slice(start, min(start + step, num_rows))
