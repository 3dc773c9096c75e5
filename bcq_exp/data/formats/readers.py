"""The files that datasets are read from, by what is in them: one layer for containers, one for names of columns."""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np

from bcq_exp.data.columns import Array
from bcq_exp.data.formats import foreign, hdf5, layouts, npz
from bcq_exp.data.formats.atari_replay import MAX_EPISODE_STEPS, is_atari_replay, load_atari_replay
from bcq_exp.data.formats.d3rlpy import is_d3rlpy_2, read_d3rlpy_2, transitions_of_d3rlpy
from bcq_exp.data.formats.h5 import check_format, is_h5
from bcq_exp.data.formats.minari import read_minari
from bcq_exp.data.transitions import Transitions


def read_transitions(path: str | Path, max_episode_steps: int | None = None) -> Transitions:
    """Read and check a dataset of any known layout, by what is in it.

    It is a folder of Minari, one of DQN-replay checkpoints (all of them are read), an `.npz` archive or HDF5, with the
    columns of one of `LAYOUTS`. Whatever its layout, its columns become transitions by the rules of `typed` and
    `as_transitions`.

    Args:
        path: the file or folder.
        max_episode_steps: length of the time limit, for a file of columns that says in no other way where it struck; 0
            if there was none.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the layout is unknown, the file damaged, or a value bad (naming file, key and first bad row).
    """
    found = _read(Path(path), max_episode_steps)
    return found if found.rows is not None else replace(found, rows=np.arange(len(found)))


def _read(path: Path, max_episode_steps: int | None) -> Transitions:
    source = str(path)
    is_folder = path.is_dir()
    if is_folder or is_two(path):
        if max_episode_steps is not None:
            raise ValueError(f"{source}: says where its episodes end; give dataset.max_episode_steps=null")
        if is_atari_replay(path):
            return load_atari_replay(path, checkpoints=1.0, max_episode_steps=MAX_EPISODE_STEPS)
        return read_minari(path) if is_folder else read_d3rlpy_2(path)
    found = names(path)
    layout = layouts.match(found)
    if layout is None:
        raise ValueError(layouts.unknown(source, "unknown layout with keys", found))
    keys = layouts.keys(layout, found, source)
    columns, keys = layouts.renamed(read_columns(path, keys.values()), keys), {**layout.names, **keys}
    if layout is layouts.D3RLPY:
        return transitions_of_d3rlpy(columns, source, keys)
    return Transitions.from_columns(columns, source, keys, max_episode_steps=max_episode_steps)


def is_two(path: Path) -> bool:
    """Whether a file is of d3rlpy's version 2, whose episodes have columns of their own."""
    return foreign.container(path) == "hdf5" and is_d3rlpy_2(hdf5.names(path))


def names(path: Path) -> list[str]:
    """The names of a file's columns, and of what else it holds.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: it is no `.npz` archive and not HDF5, or damaged.
    """
    if foreign.container(path) == "npz":
        return npz.names(path)
    with hdf5.open_h5(path) as file:
        is_own = is_h5(file)
    if is_own:
        check_format(path)
    return hdf5.names(path)


def read_columns(path: Path, keys: Iterable[str]) -> dict[str, Array]:
    """Those of the named columns that a file has, unchecked; raises like `names`."""
    return (npz.read_columns if foreign.container(path) == "npz" else hdf5.read_datasets)(path, keys)
