"""The order of recorded rows that name their episode: which rows are one episode, and which of them is its last.

Shape suffix: N rows.
"""

import logging
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from bcq_exp.data.columns import Array

log = logging.getLogger(__name__)


class Order(NamedTuple):
    """Rows in the order of their steps, episode after episode.

    Args:
        rows: of the file, (N,) int64.
        episode_N: number of each one's episode, int64.
        is_last_N: whether it is the last one of its episode, bool.
        is_new: whether this is another order than the file's.
    """

    rows: Array
    episode_N: Array
    is_last_N: Array
    is_new: bool


def ordered(episode_N: Array, time_N: Array | None, ids: Sequence[Any], source: str, keys: Mapping[str, str]) -> Order:
    """Put rows in order: episodes by their first rows, and the rows of each by their times, or as they stand.

    Args:
        episode_N: number of each row's episode, in the order of the first rows.
        time_N: of each row, or None where the rows of an episode stand together in their order.
        ids: of the episodes, for messages.
        source: file or name that messages begin with.
        keys: names in the file of the columns `episode` and `time`.

    Raises:
        ValueError: rows of an episode stand apart without times, or have the same time.
    """
    if num_apart := len(apart := rows_apart(episode_N)):
        num_apart, row = len(np.unique(episode_N[apart])), apart[0]
        if time_N is None:
            raise ValueError(
                f"{source}: {keys['episode']} {ids[episode_N[row]]} returns in row {row}, behind rows of other episodes"
                f" (such episodes in all: {num_apart}); give dataset.columns.time, the column to order an episode's "
                "rows by, or each episode an id of its own"
            )
        log.warning("%s: rows of %d episodes stand apart; %s puts them in order", source, num_apart, keys["time"])
    rows = np.arange(len(episode_N)) if time_N is None else np.lexsort((time_N, episode_N))
    episode_N = episode_N[rows]
    if time_N is not None:
        is_same = (np.diff(episode_N) == 0) & (np.diff(time_N[rows]) == 0)
        if is_same.any():
            place = int(is_same.argmax())
            raise ValueError(
                f"{source}: {keys['episode']} {ids[episode_N[place]]} has the same {keys['time']} in rows "
                f"{rows[place]} and {rows[place + 1]} (such rows in all: {is_same.sum()}); give each step its "
                "own time, and each episode its own id"
            )
    return Order(rows, episode_N, np.append(np.diff(episode_N) != 0, True), bool((np.diff(rows) != 1).any()))


def rows_apart(episode_N: Array) -> Array:
    """The rows in which an episode goes on behind rows of others, int64; arguments as for `ordered`."""
    starts = np.append(0, np.flatnonzero(np.diff(episode_N)) + 1)
    is_known = episode_N[starts[1:]] <= np.maximum.accumulate(episode_N[starts])[:-1]
    return np.asarray(starts[1:][is_known])


def check_last(flag_N: Array, order: Order, ids: Sequence[Any], source: str, key: str) -> None:
    """Raise ValueError where a flag of the ordered rows is set in a row that is not the last one of its episode.

    Args:
        flag_N: in the order of the rows, bool.
        order: of the rows.
        ids: of the episodes, for messages.
        source: file or name that messages begin with.
        key: name of the flag in the file.
    """
    if (inside := np.flatnonzero(flag_N & ~order.is_last_N)).size:
        place = inside[0]
        raise ValueError(
            f"{source}: {key} is 1 in row {order.rows[place]}, but episode {ids[order.episode_N[place]]} goes on in "
            f"row {order.rows[place + 1]} (such rows in all: {inside.size}); it may be 1 in an episode's last row only"
        )
