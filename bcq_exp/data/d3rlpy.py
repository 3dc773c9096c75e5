"""The HDF5 layouts of d3rlpy's versions 1 and 2."""

import logging
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

import h5py
import numpy as np

from bcq_exp.data.h5 import open_h5, read_datasets
from bcq_exp.data.steps import from_steps
from bcq_exp.data.transitions import Array, Transitions, as_act, as_flag, as_float, as_obs, check_keys, check_lengths

KEYS = {"obs": "observations", "act": "actions", "rew": "rewards", "terminated": "terminals"}
COLUMNS = (*KEYS.values(), "episode_terminals")
VERSION_2 = "2.1"
EPISODE = ("observations", "actions", "rewards", "terminated")

logger = logging.getLogger(__name__)


def is_d3rlpy(file: h5py.File) -> bool:
    """Whether an open file is of version 1's layout, be it with keys missing."""
    return "discrete_action" in file or "episode_terminals" in file


def is_d3rlpy_2(file: h5py.File) -> bool:
    """Whether an open file is of version 2's layout, be it with keys missing."""
    return "num_episodes" in file or ("columns" in file and "version" in file)


def read_d3rlpy(path: str | Path) -> Transitions:
    """Read and check a file in the layout of d3rlpy's version 1.

    The layout has no next observations: see `from_steps`.

    Episodes end where `episode_terminals` is set. `terminals` counts only there: some recorders also set it one row
    before the end of each terminated episode, which is passed over; other settings inside an episode are passed over
    with a warning. A file that ends inside an episode is one cut short: that episode is truncated, with a warning.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is damaged or holds bad values, naming the file, the key and the first bad row.
    """
    source = str(path)
    columns = read_datasets(path, (*COLUMNS, "discrete_action"))
    check_keys(columns, (*COLUMNS, "discrete_action"), source)
    is_discrete = as_flag(columns.pop("discrete_action").reshape(-1)[:1], "discrete_action", source).item()
    check_lengths(columns, source)

    obs = as_obs(columns["observations"], "observations", source)
    act = as_act(columns["actions"], "actions", source, is_discrete=is_discrete)
    rew = as_float(columns["rewards"], "rewards", source, (1,), "(N,)")
    terminals = as_flag(columns["terminals"], "terminals", source)
    ends = as_flag(columns["episode_terminals"], "episode_terminals", source)

    terminated = terminals & ends
    if not ends[-1]:
        logger.warning(
            "%s: episode_terminals row %d is 0; the episode cut there is read as truncated", source, len(ends) - 1
        )
        ends[-1] = True
    stray = terminals & ~ends & ~np.append(terminated[1:], False)
    if stray.any():
        logger.warning(
            "%s: terminals is 1 inside an episode in %d rows, first in row %d; passed over",
            source,
            stray.sum(),
            stray.argmax(),
        )
    return from_steps(obs=obs, act=act, rew=rew, terminated=terminated, ends=ends, source=source, keys=KEYS)


def read_d3rlpy_2(path: str | Path) -> Transitions:
    """Read and check a file that `dump` of a replay buffer of d3rlpy's version 2 wrote.

    Each episode has datasets of its own, `observations_0` to `terminated_0` and so on; next observations are those of
    `from_steps`. Actions are discrete if they are integers by type. Observations must be one array a step, no tuple.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is damaged or holds bad values, naming the file, the key and the first bad row.
    """
    source = str(path)
    with open_h5(path) as file:
        columns = {key: np.asarray(value[()]) for key, value in file.items() if isinstance(value, h5py.Dataset)}
    check_keys((key for key in columns if "_" not in key or key == "num_episodes"), ("version", "num_episodes"), source)
    if columns["version"].tolist() != VERSION_2.encode():
        raise ValueError(
            f"{source}: version is {columns['version']}; allowed: {VERSION_2}; dump it anew with d3rlpy 2.8"
        )
    num_episodes = columns["num_episodes"]
    if num_episodes.shape or num_episodes.dtype.kind not in "iu" or num_episodes < 1:
        raise ValueError(f"{source}: num_episodes is {num_episodes}; allowed: a whole number from 1")

    by_episode: dict[str, dict[str, Array]] = defaultdict(dict)
    for key, column in columns.items():
        by_episode[key.partition("_")[2]][key] = column
    episodes = [_episode(by_episode[str(i)], i, source) for i in range(int(num_episodes))]
    parts = list(zip(*episodes, strict=True))
    _check_alike(parts[0], "observations", source)
    _check_alike(parts[1], "actions", source)
    obs, act, rew, terminated = map(np.concatenate, parts)
    ends = np.zeros(len(rew), np.bool_)
    ends[np.cumsum([len(part) for part in parts[2]]) - 1] = True
    keys = {own: f"{name} (of all episodes in turn)" for own, name in zip(KEYS, EPISODE, strict=True)}
    return from_steps(obs=obs, act=act, rew=rew, terminated=terminated, ends=ends, source=source, keys=keys)


def _episode(columns: Mapping[str, Array], i: int, source: str) -> tuple[Array, Array, Array, Array]:
    """Observations, actions, rewards and terminal flags of the steps of episode `i`, checked."""
    keys = [f"{name}_{i}" for name in EPISODE]
    check_keys(columns, keys, source)
    observations, actions, rewards, terminated = keys
    check_lengths({key: columns[key] for key in keys[:3]}, source)
    rew = as_float(columns[rewards], rewards, source, (1, 2), "(N,) or (N, 1)")
    if rew.size != len(rew):
        raise ValueError(f"{source}: {rewards} has shape {rew.shape}, from row 0 on; allowed: (N,) or (N, 1)")
    has_terminated = as_flag(columns[terminated].reshape(-1), terminated, source)
    if has_terminated.size != 1:
        raise ValueError(f"{source}: {terminated} has {has_terminated.size} values; allowed: one for the episode")
    flags = np.zeros(len(rew), np.bool_)
    flags[-1] = has_terminated.item()
    act = as_act(columns[actions], actions, source, is_discrete=columns[actions].dtype.kind in "iub")
    return as_obs(columns[observations], observations, source), act, rew.reshape(-1), flags


def _check_alike(parts: Sequence[Array], name: str, source: str) -> None:
    """Raise ValueError unless the rows of all episodes have one type and shape."""
    kinds = [(part.dtype, part.shape[1:]) for part in parts]
    for i, (dtype, shape) in enumerate(kinds):
        if (dtype, shape) != kinds[0]:
            raise ValueError(
                f"{source}: {name}_{i} is {dtype} {shape} a row, from row 0 on; "
                f"it must be like {name}_0, {kinds[0][0]} {kinds[0][1]}"
            )
