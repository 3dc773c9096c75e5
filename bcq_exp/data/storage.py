"""Columns that lie in memory, or in files that are mapped into it and of which the kernel keeps what is in use."""

import math
import mmap
import os
import shutil
import tempfile
from collections.abc import Iterator
from typing import Any

import numpy as np
import psutil
from numpy.typing import DTypeLike, NDArray

from bcq_exp.io.files import cache_folder

Array = NDArray[Any]

# Of the machine's memory. A dataset in memory is there twice for a while: as it was read, and as tensors.
SHARE = 0.25
STORAGES = ("auto", "memory", "mmap")
CHUNK = 2**26  # bytes that are worked on at once
PACKED = 1100  # deflate makes at most 1032 bytes of one; more is not in a file of that size, whatever its header says


def is_large(num_bytes: int) -> bool:
    """Whether a dataset of that size is memory-mapped where nothing else is asked for."""
    return num_bytes > SHARE * int(psutil.virtual_memory().total)


def check_declared(num_bytes: int, stored: int) -> None:
    """Raise ValueError for a size, of those that a file's headers declare, that its stored bytes cannot make."""
    if num_bytes > CHUNK and num_bytes > PACKED * stored:
        raise ValueError(f"its header declares {num_bytes / 1e9:,.1f} GB, which {stored:,} stored bytes cannot hold")


def check_memory(num_bytes: int) -> None:
    """Raise ValueError for a size that the machine has no memory for now."""
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
    """An array of zeros in a file of the cache folder that has no name: it is gone with the last use of the array.

    Raises:
        ValueError: the folder cannot be written, or its disk has too little room.
    """
    folder, num_bytes = cache_folder(), math.prod(shape) * np.dtype(dtype).itemsize
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if num_bytes > (free := shutil.disk_usage(folder).free):
            raise OSError(f"{num_bytes / 1e9:.1f} GB are needed, {free / 1e9:.1f} GB are free")
        with tempfile.TemporaryFile(dir=folder) as file:
            os.posix_fallocate(file.fileno(), 0, num_bytes)  # a disk that is full when pages are written would kill us
            return np.memmap(file, dtype, "r+", shape=shape)
    except OSError as error:
        raise ValueError(f"cache folder {folder}: {error}; set BCQ_EXP_CACHE to a folder with room") from None


def mapped(column: Array) -> Array:
    """The column itself if it lies in a file, else a copy that does."""
    if is_mapped(column):
        return column
    copy = new_mapped(column.shape, column.dtype)
    for rows in chunks(column):
        copy[rows] = column[rows]
    return copy


def taken(column: Array, rows: Array) -> Array:
    """A copy of a column's rows, in a file if the column lies in one."""
    made = room(column, len(rows))
    for part in chunks(made):
        made[part] = column[rows[part]]
    return made


def room(column: Array, num_rows: int) -> Array:
    """An array of so many rows for what is made of a column: in a file, if the column lies in one."""
    shape = (num_rows, *column.shape[1:])
    return new_mapped(shape, column.dtype) if is_mapped(column) else np.empty(shape, column.dtype)


def chunks(column: Any) -> Iterator[slice]:
    """Rows of a column, one piece of at most `CHUNK` bytes behind the other."""
    num_rows = len(column)
    step = max(1, CHUNK * num_rows // max(column.nbytes, 1))
    for start in range(0, num_rows, step):
        yield slice(start, min(start + step, num_rows))
