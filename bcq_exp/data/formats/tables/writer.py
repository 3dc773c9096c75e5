"""Transitions written as tables in CSV and Parquet files."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from bcq_exp.data.columns import Array
from bcq_exp.data.formats.tables import arrow
from bcq_exp.data.formats.tables.roles import ANY
from bcq_exp.data.transitions import MASKS, Transitions

BATCH = 2**16  # rows that are written at once


def write_table(path: Path, transitions: Transitions) -> dict[str, str]:
    """Write transitions as a table, a row each.

    Args:
        path: a new file that ends in .csv or .parquet.
        transitions: with observations of one axis. Returns that are not the sums of rewards are not kept, nor is
            `act_next` behind a truncated row.

    Returns:
        The columns by their roles, as `TableColumns` takes them: `episode` and `step`, counted from 0, `obs_0` and so
        on, `act`, as a name where actions have names, or `act_0` and so on, `rew`, `terminated`, `truncated`,
        `next_obs_0` and so on, and where there are masks `mask_0` and `next_mask_0` and so on, or with names of actions
        in place of the numbers.

    Raises:
        ValueError: observations are images, or the file cannot be written.
    """
    if len(transitions.obs.shape) != 2:
        raise ValueError(
            f"{transitions.source}: {transitions.keys.get('obs', 'obs')} has shape {transitions.obs.shape[1:]} a row; "
            "tables hold observations of one axis, write .h5"
        )
    roles = {
        "episode": "episode",
        "time": "step",
        "obs": "obs_*",
        "act": "act" if transitions.act.ndim == 1 else "act_*",
    }
    roles |= {"rew": "rew", "terminated": "terminated", "truncated": "truncated", "obs_next": "next_obs_*"}
    if transitions.mask is not None:
        roles |= {"mask": "mask_*", "mask_next": "next_mask_*"}
    arrow.write(path, batches(transitions, roles))
    return roles


def batches(transitions: Transitions, roles: Mapping[str, str]) -> Iterator[dict[str, Array]]:
    """The columns (N,) of some rows at a time, by their names.

    Args:
        transitions: with at least one row.
        roles: as `write_table` returns them.
    """
    ends, names = transitions.terminated | transitions.truncated, transitions.action_names
    episode: Array = np.cumsum(ends) - ends
    step = np.arange(len(ends)) - np.flatnonzero(np.append(True, ends[:-1]))[episode]
    for start in range(0, len(ends), BATCH):
        rows = slice(start, start + BATCH)
        made = {roles["episode"]: episode[rows], roles["time"]: step[rows]}
        for role, word in roles.items():
            if word in made:
                continue
            values = np.asarray(getattr(transitions, role)[rows])
            values = values.astype(np.uint8) if values.dtype == np.bool_ else values
            if role == "act" and names is not None:
                values = np.array(names)[values]
            if word.endswith(ANY):
                labels = names if role in MASKS and names is not None else range(values.shape[1])
                made |= {f"{word[:-1]}{label}": values[:, place] for place, label in enumerate(labels)}
            else:
                made[word] = values
        yield made
