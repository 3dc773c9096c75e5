"""HDF5 files: only arrays are read that lie in the file itself and are no larger than its bytes can make."""

import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from bcq_exp.data.columns import Array, check_numbers, said_of_type
from bcq_exp.data.formats.file_format import ColumnsFile
from bcq_exp.data.storage import check_declared, chunks, is_large, new_mapped

SIGNATURE = b"\x89HDF\r\n\x1a\n"  # that a file begins with
INNER = "infos"  # the one group whose datasets are read, as `infos/action_mask`; D4RL and Minari write it


class Refused(ValueError):
    """An undamaged file holds what is not read: its message is not that of damage."""


class HDF5(ColumnsFile):
    """HDF5 files with a dataset for each column."""

    title = "HDF5 file"

    def matches(self, path: Path, head: bytes) -> bool:
        """Whether a file has HDF5's signature."""
        return head.startswith(SIGNATURE)

    def names(self, path: Path) -> list[str]:
        """See the function `names`."""
        return names(path)

    def read_columns(self, path: Path, keys: Iterable[str]) -> dict[str, Array]:
        """See `read_datasets`."""
        return read_datasets(path, keys)

    def env(self, path: Path) -> str | None:
        """The root attribute `env`."""
        (env,) = read_attrs(path, "env")
        return env if isinstance(env, str) else None


@contextmanager
def open_h5(path: str | Path) -> Iterator[h5py.File]:
    """Open a file to read; an error of HDF5 inside the block becomes one line that names the file."""
    try:
        with h5py.File(path, "r") as file:
            yield file
    except FileNotFoundError:
        raise FileNotFoundError(f"{path}: no such file") from None
    except Refused as error:
        raise ValueError(f"{path}: {error}") from None
    except (OSError, KeyError, RuntimeError, TypeError, ValueError, MemoryError) as error:
        said = " ".join(str(error).split())
        raise ValueError(f"{path}: not a readable HDF5 file, truncated or damaged ({said})") from None


def read_attrs(path: str | Path, *names: str) -> list[Any]:
    """Read root attributes of an HDF5 file; None stands for a missing one."""
    with open_h5(path) as file:
        return [file.attrs.get(name) for name in names]


def names(path: str | Path) -> list[str]:
    """The names in the root of a file, and those in its group `infos`, as `infos/NAME`; no link is followed."""
    with open_h5(path) as file:
        inner = _own(file, INNER)
        inner_names = [f"{INNER}/{name}" for name in inner] if isinstance(inner, h5py.Group) else []
        return [*file, *inner_names]


def read_datasets(path: str | Path, keys: Iterable[str]) -> dict[str, Array]:
    """Read those of the named datasets that an HDF5 file has; a large file's go to mapped files.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is damaged, or a dataset is no array of numbers, lies elsewhere, or is larger than what the
            file's bytes can make.
    """
    with open_h5(path) as file:
        size = Path(path).stat().st_size
        present = {key: each for key in keys if (each := dataset(file, key, size)) is not None}
        kinds = {key: (each.shape, each.dtype) for key, each in present.items()}
        for key, (_, dtype) in kinds.items():
            if dtype.hasobject:
                raise Refused(said_of_type(dtype, key))
        if not is_large(sum(math.prod(shape) * dtype.itemsize for shape, dtype in kinds.values())):
            return {key: np.asarray(each[()]) for key, each in present.items()}
    for key, (_, dtype) in kinds.items():
        check_numbers(dtype, key, str(path))
    room = {key: new_mapped(shape, dtype) for key, (shape, dtype) in kinds.items() if shape and 0 not in shape}
    with open_h5(path) as file:
        for key, out in room.items():
            for rows in chunks(out):
                out[rows] = file[key][rows]
        return {key: room[key] if key in room else np.asarray(file[key][()]) for key in kinds}


def dataset(file: h5py.File, key: str, file_bytes: int) -> h5py.Dataset | None:
    """The dataset of a key, in a file of so many bytes; None where there is none.

    Raises:
        Refused: it lies in another file, in whole or in part, or is larger than what the file's bytes can make.
    """
    node = _own(file, key)
    if not isinstance(node, h5py.Dataset):
        return None
    _check_own(node.id, key, file_bytes)
    return node


def check_file(path: Path) -> None:
    """Apply the checks of `dataset` to all of a file, for another library to read; raise ValueError like it."""
    with open_h5(path) as file:
        links: list[tuple[bytes, int]] = []
        file.id.links.visit(lambda name, info: links.append((name, info.type)), info=True)
        for name, kind in links:
            key = name.decode(errors="replace")
            if kind != h5py.h5l.TYPE_HARD:
                raise Refused(_said_of_link(key))
            node = h5py.h5o.open(file.id, name)
            if isinstance(node, h5py.h5d.DatasetID):
                _check_own(node, key, path.stat().st_size)


def _own(file: h5py.File, key: str) -> Any:
    """The object under a key, or None; raises Refused where a link on the way may lead out of the file."""
    node: Any = file
    for name in key.split("/"):
        if not isinstance(node, h5py.Group) or not node.id.links.exists(name.encode()):
            return None
        if node.id.links.get_info(name.encode()).type != h5py.h5l.TYPE_HARD:
            raise Refused(_said_of_link(key))
        node = node[name]
    return node


def _said_of_link(key: str) -> str:
    return (
        f"{key} is a link by name, which may lead out of the file and is not followed; copy the array, or give it "
        f"another name with a hard link: file[{key!r}] = file['its own key']"
    )


def _check_own(dataset_id: h5py.h5d.DatasetID, key: str, file_bytes: int) -> None:
    layout = dataset_id.get_create_plist()
    if layout.get_external_count() or layout.get_layout() == h5py.h5d.VIRTUAL:
        raise Refused(f"{key} lies in other files, which are not read; copy the array into this one")
    itemsize = dataset_id.get_type().get_size()
    shapes = [dataset_id.shape, layout.get_chunk() if layout.get_layout() == h5py.h5d.CHUNKED else ()]
    declared = max(math.prod(shape) * itemsize for shape in shapes)
    try:
        check_declared(declared, min(dataset_id.get_storage_size(), file_bytes))
    except ValueError as error:
        raise Refused(f"{key}: {error}") from None
