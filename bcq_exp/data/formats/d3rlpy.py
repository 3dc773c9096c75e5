"""The HDF5 files of d3rlpy's version 2, where each episode has columns of its own."""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from bcq_exp.data.columns import Array, as_flag, check_keys, typed
from bcq_exp.data.formats import layouts
from bcq_exp.data.formats.file_format import FileFormat, refuse_limit
from bcq_exp.data.formats.hdf5 import SIGNATURE, dataset, names, open_h5, read_datasets
from bcq_exp.data.steps import STEP
from bcq_exp.data.transitions import Transitions

VERSION_2 = "2.1"
EPISODE = {**layouts.D4RL.names, "terminated": "terminated"}  # with the episode's number behind each


class D3rlpy2(FileFormat):
    """Files that `dump` of a replay buffer of d3rlpy's version 2 wrote."""

    title = "d3rlpy 2"
    content = "observations_i, actions_i, rewards_i, terminated_i of each episode i, num_episodes, version"
    note = "what `dump` writes"

    def matches(self, path: Path, head: bytes) -> bool:
        """Whether it is HDF5 with the names of version 2, be it with some missing."""
        if not head.startswith(SIGNATURE):
            return False
        keys = names(path)
        return "num_episodes" in keys or {"columns", "version"} <= set(keys)

    def read(self, path: Path, max_episode_steps: int | None) -> Transitions:
        """See `read_d3rlpy_2`."""
        refuse_limit(path, max_episode_steps)
        return read_d3rlpy_2(path)


def read_d3rlpy_2(path: str | Path) -> Transitions:
    """Read and check a file that `dump` of a replay buffer of d3rlpy's version 2 wrote.

    Each episode has datasets of its own: `observations_0`, ..., `terminated_0`. `action_mask_0` and
    `next_observations_0` are read, too. Observations must be one array a step, no tuple.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is damaged or holds bad values, naming the file, the key and the first bad row.
    """
    source, stored = str(path), names(path)
    check_keys((key for key in stored if "_" not in key or key == "num_episodes"), ("version", "num_episodes"), source)
    version, num_episodes = (_scalar(path, key) for key in ("version", "num_episodes"))
    if version.tolist() != VERSION_2.encode():
        raise ValueError(f"{source}: version is {version}; allowed: {VERSION_2}; dump it anew with d3rlpy 2.8")
    if num_episodes.shape or num_episodes.dtype.kind not in "iu" or num_episodes < 1:
        raise ValueError(f"{source}: num_episodes is {num_episodes}; allowed: a whole number from 1")

    by_episode: dict[str, list[str]] = defaultdict(list)
    for key in stored:
        by_episode[key.rpartition("_")[2]].append(key)
    chosen = [_keys(by_episode[str(i)], i, source) for i in range(int(num_episodes))]
    columns = read_datasets(path, [key for keys in chosen for key in keys.values()])
    episodes = [_episode(columns, keys, source) for keys in chosen]
    first = episodes[0].keys()
    if (odd := next((i for i, each in enumerate(episodes) if each.keys() != first), None)) is not None:
        raise ValueError(f"{source}: episode {odd} has other columns than episode 0: {', '.join(chosen[odd].values())}")
    for name in first:
        _check_alike([each[name] for each in episodes], [keys.get(name, name) for keys in chosen], source)
    joined = {name: np.concatenate([each[name] for each in episodes]) for name in first}
    keys = {own: f"{key.rpartition('_')[0]} (of all episodes in turn)" for own, key in chosen[0].items()}
    return Transitions.from_typed(joined, source, keys)


def _scalar(path: str | Path, key: str) -> Any:
    """The value of a dataset of one number or one text."""
    with open_h5(path) as file:
        value = dataset(file, key, Path(path).stat().st_size)
        if value is None or (value.dtype.hasobject and (value.shape or not h5py.check_string_dtype(value.dtype))):
            raise ValueError(f"{key} is no number and no text")
        return np.asarray(value[()])


def _keys(stored: Collection[str], i: int, source: str) -> dict[str, str]:
    """The key in the file of each column of episode `i`."""
    known = {name: f"{key}_{i}" for name, key in EPISODE.items() if name != "ends"}
    check_keys(stored, [known[name] for name in STEP], source)
    there = {name: key for name, key in known.items() if key in stored}
    for name, each in layouts.MASKS.items():
        if (key := next((f"{mask}_{i}" for mask in each if f"{mask}_{i}" in stored), None)) is not None:
            there[name] = key
    return there


def _episode(columns: Mapping[str, Array], keys: Mapping[str, str], source: str) -> dict[str, Array]:
    """The columns of an episode in the types of `typed`, `ends` among them."""
    check_keys([key for key in keys.values() if key in columns], keys.values(), source)
    flag = columns[keys["terminated"]].reshape(-1)
    has_terminated = as_flag(flag, keys["terminated"], source)
    if has_terminated.size != 1:
        raise ValueError(
            f"{source}: {keys['terminated']} has {has_terminated.size} values; allowed: one for the episode"
        )
    steps = typed({name: columns[key] for name, key in keys.items() if name != "terminated"}, source, keys)
    ends = np.zeros(len(steps["rew"]), np.bool_)
    ends[-1] = True
    return {**steps, "terminated": ends & has_terminated, "ends": ends}


def _check_alike(parts: Sequence[Array], keys: Sequence[str], source: str) -> None:
    """Raise ValueError unless the rows of all episodes have one type and shape."""
    kinds = [(part.dtype, part.shape[1:]) for part in parts]
    for key, (dtype, shape) in zip(keys, kinds, strict=True):
        if (dtype, shape) != kinds[0]:
            raise ValueError(
                f"{source}: {key} is {dtype} {shape} a row, from row 0 on; "
                f"it must be like {keys[0]}, {kinds[0][0]} {kinds[0][1]}"
            )
