"""Arrays in gzip'd `.npy` files, of which nothing is ever unpickled."""

import gzip
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from bcq_exp.data.columns import Array
from bcq_exp.data.formats import npy
from bcq_exp.data.formats.npy import DAMAGED
from bcq_exp.data.storage import check_declared


def read_array(path: Path) -> Array:
    """The array of a file.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is damaged, of another kind, or declares more than its bytes can hold.
    """
    read_header(path)
    with opened(path) as file:
        return npy.read_array(file)


def read_header(path: Path) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Shape and type of the array of a file; raises like `read_array`."""
    with opened(path) as file:
        shape, is_fortran, dtype = npy.read_header(file)
        if is_fortran and len(shape) > 1:
            raise ValueError("its array is in Fortran's order")
        check_declared(npy.num_bytes(shape, dtype), path.stat().st_size)
        return shape, dtype


@contextmanager
def opened(path: Path) -> Iterator[gzip.GzipFile]:
    """A file, open to read; whatever goes wrong inside the block becomes one line that names the file."""
    try:
        with gzip.open(path) as file:
            yield file
    except FileNotFoundError:
        raise FileNotFoundError(f"{path}: no such file") from None
    except DAMAGED as error:
        said = " ".join(str(error).split())
        raise ValueError(f"{path}: not a readable gzip'd .npy file, truncated or damaged ({said})") from None
