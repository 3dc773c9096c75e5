"""NumPy's `.npy` content, plain or in gzip'd files: arrays of plain numbers; nothing is ever unpickled."""

import gzip
import math
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from bcq_exp.data.columns import Array
from bcq_exp.data.storage import CHUNK, check_declared, check_memory

DAMAGED = (  # what numpy, zipfile and zlib raise for bytes that were changed
    OSError,
    EOFError,
    ValueError,
    TypeError,
    KeyError,
    RuntimeError,
    MemoryError,
    ArithmeticError,
    SyntaxError,
    tokenize.TokenError,
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
)
HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


class Readable(Protocol):
    """An open file, or one that is unpacked as it is read."""

    def read(self, size: int = ..., /) -> bytes:
        """Up to `size` bytes."""

    def readinto(self, buffer: memoryview, /) -> int | None:
        """Fill the buffer from its beginning; how many bytes came."""


def read_header(file: Readable) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Read shape, whether in Fortran's order, and type of the array in an open `.npy`, up to its content.

    Raises:
        ValueError: it is no header, or one of an array of objects; and any of `DAMAGED`.
    """
    shape, is_fortran, dtype = HEADERS[np.lib.format.read_magic(file)](file)
    if dtype.hasobject:
        raise ValueError("an array of objects, which is a pickle and is never read; store plain numbers")
    if min(shape, default=0) < 0:
        raise ValueError(f"shape {shape}")
    return shape, is_fortran, dtype


def num_bytes(shape: tuple[int, ...], dtype: np.dtype[Any]) -> int:
    """Size of an array."""
    return math.prod(shape) * dtype.itemsize


def read_array(file: Readable) -> Array:
    """Read the array of an open `.npy`; its declared size must have been checked against the file's.

    Raises:
        ValueError: there is no memory for it, or bytes behind it; and any of `DAMAGED`.
    """
    shape, is_fortran, dtype = read_header(file)
    check_memory(num_bytes(shape, dtype))
    array = np.empty(math.prod(shape), dtype)
    content, filled = memoryview(array.data).cast("B") if array.nbytes else memoryview(b""), 0
    while filled < len(content):
        num = file.readinto(content[filled : filled + CHUNK])
        if not num:
            raise EOFError("fewer bytes than its header says")
        filled += num
    if file.read(1):  # the checksum is looked at where the content ends
        raise ValueError("it goes on behind its array")
    return array.reshape(shape[::-1]).T if is_fortran else array.reshape(shape)


def read_gzipped(path: Path) -> Array:
    """Read the array of a gzip'd file.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is damaged, of another kind, or declares more than its bytes can hold.
    """
    read_gzipped_header(path)
    with opened_gzip(path) as file:
        return read_array(file)


def read_gzipped_header(path: Path) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Read shape and type of the array of a gzip'd file; raises like `read_gzipped`."""
    with opened_gzip(path) as file:
        shape, is_fortran, dtype = read_header(file)
        if is_fortran and len(shape) > 1:
            raise ValueError("its array is in Fortran's order")
        check_declared(num_bytes(shape, dtype), path.stat().st_size)
        return shape, dtype


@contextmanager
def opened_gzip(path: Path) -> Iterator[gzip.GzipFile]:
    """Open a gzip'd file to read; errors inside the block become those of `naming_damage`."""
    with naming_damage(path, "gzip'd .npy file"), gzip.open(path) as file:
        yield file


@contextmanager
def naming_damage(path: Path, kind: str) -> Iterator[None]:
    """Turn an error of reading inside the block into one line that names the file and its kind.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: one of `DAMAGED` came.
    """
    try:
        yield
    except FileNotFoundError:
        raise FileNotFoundError(f"{path}: no such file") from None
    except DAMAGED as error:
        said = " ".join(str(error).split())
        raise ValueError(f"{path}: not a readable {kind}, truncated or damaged ({said})") from None
