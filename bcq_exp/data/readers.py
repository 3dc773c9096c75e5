"""The file formats that datasets are read from."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import h5py

from bcq_exp.data import d3rlpy, d4rl, h5
from bcq_exp.data.atari_replay import MAX_EPISODE_STEPS, is_atari_replay, load_atari_replay
from bcq_exp.data.minari_reader import read_minari
from bcq_exp.data.npz import read_npz
from bcq_exp.data.transitions import Transitions


class Format(NamedTuple):
    """A layout: how to recognise an open file of it, how to read one, and how to describe it to users."""

    matches: Callable[[h5py.File], bool]
    read: Callable[[str | Path], Transitions]
    description: str


FORMATS = (
    Format(h5.is_h5, h5.read_h5, f"bcq_exp (root attribute format={h5.FORMAT!r})"),
    Format(d3rlpy.is_d3rlpy, d3rlpy.read_d3rlpy, f"d3rlpy v1 ({', '.join(d3rlpy.COLUMNS)}, discrete_action)"),
    Format(d3rlpy.is_d3rlpy_2, d3rlpy.read_d3rlpy_2, f"d3rlpy v2 (version={d3rlpy.VERSION_2}, num_episodes)"),
    Format(
        d4rl.is_d4rl,
        partial(d4rl.read_d4rl, terminate_on_end=False, max_episode_steps=None),
        f"D4RL ({', '.join(d4rl.KEYS.values())})",
    ),
)


def read_transitions(path: str | Path) -> Transitions:
    """Read and check a dataset of any known layout, by what is in it.

    It is a folder of Minari, one of DQN-replay checkpoints (all of them are read), an `.npz` archive or HDF5.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the layout is unknown, the file damaged, or a value bad (naming file, key and first bad row).
    """
    if is_atari_replay(path):
        return load_atari_replay(path, checkpoints=1.0, max_episode_steps=MAX_EPISODE_STEPS)
    if Path(path).is_dir():
        return read_minari(path)
    if Path(path).suffix == ".npz":
        return read_npz(path)
    with h5.open_h5(path) as file:
        keys = list(file)
        found = next((known for known in FORMATS if known.matches(file)), None)
    if found is not None:
        return found.read(path)
    raise ValueError(
        f"{path}: unknown layout with keys {', '.join(keys) or 'none'}; known layouts: "
        + "; ".join(known.description for known in FORMATS)
    )
