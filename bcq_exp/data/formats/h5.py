"""The project's own HDF5 layout: one dataset a column, the environment and a manifest as root attributes."""

import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from bcq_exp.data.formats import layouts
from bcq_exp.data.formats.hdf5 import HDF5, names, open_h5, read_attrs, read_datasets
from bcq_exp.data.storage import chunks
from bcq_exp.data.transitions import COLUMNS, Transitions
from bcq_exp.io.files import json_object, replacing

FORMAT = "bcq_exp"
VERSION = 1
ACTION_NAMES = "action_names"  # a root attribute: JSON, in files whose actions have names


class OwnHDF5(HDF5):
    """HDF5 files that state the project's layout in their root attributes."""

    title = "bcq_exp's HDF5"
    note = "what `collect` and `convert` write, own names"

    def matches(self, path: Path, head: bytes) -> bool:
        """Whether an HDF5 file states the project's layout, in whatever version."""
        if not super().matches(path, head):
            return False
        with open_h5(path) as file:
            return str(file.attrs.get("format")) == FORMAT

    def names(self, path: Path) -> list[str]:
        """See `hdf5.names`; raises ValueError for a version that is not read here, too."""
        check_format(path)
        return super().names(path)

    def read(self, path: Path, max_episode_steps: int | None) -> Transitions:
        """See `ColumnsFile.read`; the names of actions are read, too."""
        return replace(super().read(path, max_episode_steps), action_names=read_action_names(path))


def write_h5(path: str | Path, transitions: Transitions, env: str | None, manifest: Mapping[str, Any]) -> None:
    """Write transitions to a file that appears whole or not at all; equal content gives equal bytes.

    Args:
        path: file to write or to replace; its folder must exist.
        transitions: what `read_h5` gives back.
        env: Gymnasium id of the environment, or None where there is none.
        manifest: JSON-serialisable account of how the data came about.
    """
    columns = {key: column for key in COLUMNS if (column := getattr(transitions, key)) is not None}
    known = {"env": env, ACTION_NAMES: transitions.action_names and json.dumps(transitions.action_names)}
    stated = {name: value for name, value in known.items() if value is not None}
    num_bytes = sum(column.nbytes for column in columns.values())
    with replacing(Path(path)) as partial, created(partial, num_bytes) as file:
        file.attrs.update(format=FORMAT, version=VERSION, manifest=json.dumps(manifest, sort_keys=True), **stated)
        for key, column in columns.items():
            dataset = file.create_dataset(
                key,
                column.shape,
                column.dtype,
                compression="gzip",
                compression_opts=1,
                shuffle=True,
                track_times=False,
            )
            for rows in chunks(column):
                dataset[rows] = np.asarray(column[rows])


@contextmanager
def created(path: Path, num_bytes: int) -> Iterator[h5py.File]:
    """A new HDF5 file of columns that take so many bytes before they are compressed.

    On a disk that is full HDF5 tries again and again, and crashes the process at its end. Where the columns might not
    fit they are compressed in memory first, to the same bytes.
    """
    if shutil.disk_usage(path.parent).free > 1.1 * num_bytes + 2**20:
        with h5py.File(path, "w") as file:
            yield file
        return
    with h5py.File(path, "w", driver="core", backing_store=False) as file:
        yield file
        file.flush()
        image = file.id.get_file_image()
    path.write_bytes(image)


def read_h5(path: str | Path) -> Transitions:
    """Read and check a file in the project's layout.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is damaged, of another layout or version, or holds bad values.
    """
    check_format(path)
    keys = layouts.keys(layouts.OWN, names(path), str(path))
    read = Transitions.from_columns(layouts.renamed(read_datasets(path, keys.values()), keys), str(path), keys)
    return replace(read, action_names=read_action_names(path))


def read_action_names(path: str | Path) -> tuple[str, ...] | None:
    """Read the names of the actions from a file in the project's layout; None where it has none.

    Raises:
        ValueError: they are damaged.
    """
    (text,) = read_attrs(path, ACTION_NAMES)
    try:
        names = json.loads(text) if isinstance(text, str) else text
    except (ValueError, RecursionError):
        names = text
    if names is not None and not (isinstance(names, list) and all(isinstance(name, str) for name in names)):
        raise ValueError(f"{path}: root attribute {ACTION_NAMES} is {str(text)[:100]!r}; allowed: a JSON list of names")
    return None if names is None else tuple(names)


def read_manifest(path: str | Path) -> dict[str, Any]:
    """Read the manifest of a file in the project's layout; raises like `read_h5`."""
    check_format(path)
    (text,) = read_attrs(path, "manifest")
    manifest = json_object(text)
    if manifest is None:
        raise ValueError(f"{path}: root attribute manifest is no JSON object; write the file with write_h5")
    return manifest


def check_format(path: str | Path) -> None:
    """Raise ValueError unless the file states the project's layout in the version that is read here."""
    expected = {"format": FORMAT, "version": VERSION}
    for (name, allowed), stated in zip(expected.items(), read_attrs(path, *expected), strict=True):
        # As text, since an attribute of a foreign file may be an array, whose comparison is one too.
        if str(stated) != str(allowed):
            raise ValueError(f"{path}: root attribute {name} is {stated}; allowed: {allowed}")
