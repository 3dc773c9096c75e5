"""Arrays in gzip'd `.npy` files, of which nothing is ever unpickled."""

import gzip
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from bcq_exp.data.npz import DAMAGED
from bcq_exp.data.transitions import Array


def read_array(path: Path) -> Array:
    """The array of a file.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is damaged, or of another kind.
    """
    with opened(path) as file:
        found: Array = np.load(file, allow_pickle=False)
        if file.read(1):  # the checksum is looked at where the content ends
            raise ValueError("it goes on behind its array")
    return found


def read_header(file: gzip.GzipFile) -> tuple[tuple[int, ...], np.dtype[np.generic]]:
    """Shape and type of the array whose content comes next in an open `.npy`."""
    read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    shape, is_fortran, dtype = read[np.lib.format.read_magic(file)](file)
    if is_fortran:
        raise ValueError("its array is in Fortran's order")
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
