"""The HDF5 layout of d3rlpy's version 1."""

import logging
from pathlib import Path

import h5py
import numpy as np

from bcq_exp.data.h5 import read_datasets
from bcq_exp.data.transitions import (
    Transitions,
    as_act,
    as_flag,
    as_float,
    as_obs,
    check_keys,
    check_lengths,
    episode_sums,
)

KEYS = {"obs": "observations", "act": "actions", "rew": "rewards", "terminated": "terminals"}
COLUMNS = (*KEYS.values(), "episode_terminals")

logger = logging.getLogger(__name__)


def is_d3rlpy(file: h5py.File) -> bool:
    """Whether an open file is of this layout, be it with keys missing."""
    return "discrete_action" in file or "episode_terminals" in file


def read_d3rlpy(path: str | Path) -> Transitions:
    """Read and check a file in the layout of d3rlpy's version 1.

    The layout has no next observations: a transition's is the next row of its episode. So the last row of an episode
    is a transition only if the episode terminated; its `obs_next` is its own observation, which no target uses. The
    last row of any other episode is dropped, and the row before it becomes `truncated`. `episode_returns` count
    dropped rows too.

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

    dropped = ends & ~terminated
    truncated = np.append(dropped[1:], False) & ~ends
    rows = np.flatnonzero(~dropped)
    if not rows.size:
        raise ValueError(f"{source}: observations has no row 1 of any episode, so no next observation; two rows needed")
    return Transitions(
        obs=obs[rows],
        act=act[rows],
        rew=rew[rows],
        terminated=terminated[rows],
        truncated=truncated[rows],
        obs_next=obs[rows + ~terminated[rows]],
        episode_returns=episode_sums(rew, ends),
        source=source,
        rows=rows,
        keys=KEYS,
    )
