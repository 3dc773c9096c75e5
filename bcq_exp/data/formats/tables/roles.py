"""The roles of a table's columns: which column is what, and which action a column of masks is of."""

import difflib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from bcq_exp.data.columns import Array, shown
from bcq_exp.data.storage import chunks, room
from bcq_exp.data.transitions import MASKS

ENDS = ("terminated", "truncated")
SEVERAL = ("obs", "act", "mask", "obs_next", "mask_next")  # roles that may have more than one column
FLAGS = (*ENDS, *MASKS)
SHARED = "time"  # the role whose column may be an observation, too
ANY = "*"  # at the end of a word: every column that begins so


@dataclass(kw_only=True)
class TableColumns:
    """The columns of a table by what they are.

    Those of `SEVERAL` are a name, the beginning of names and `*`, or a list of both; they are in the list's order, and
    those of one beginning in the file's. The others are one column each.
    """

    obs: Any
    act: Any
    rew: str
    episode: str | None
    time: str | None
    terminated: str | None
    truncated: str | None
    mask: Any
    obs_next: Any
    mask_next: Any

    def __post_init__(self) -> None:
        for role, words in self.words.items():
            if not words or not all(isinstance(word, str) and word for word in words):
                raise ValueError(f"columns.{role}={getattr(self, role)}: give a column's name, or a list of names")

    @property
    def words(self) -> dict[str, list[Any]]:
        """What stands for each role that is there, as a list."""
        given = {spec.name: getattr(self, spec.name) for spec in fields(self)}
        return {
            role: list(value) if isinstance(value, list | tuple) else [value]
            for role, value in given.items()
            if value is not None
        }


def check_ends(columns: Mapping[str, Any], ends: str | None) -> None:
    """Raise ValueError unless the columns and `ends` say once how episodes end."""
    terminated, truncated, episode = (columns.get(role) for role in (*ENDS, "episode"))
    if ends is not None and terminated is not None:
        raise ValueError(f"columns.terminated={terminated} and ends={ends} both say how episodes end; give one of them")
    if ends is None and terminated is None:
        raise ValueError(
            "nothing says whether the last row of an episode reached its end; give columns.terminated=COLUMN, "
            "ends=terminated if all of them did, or ends=truncated if the recording merely stopped there"
        )
    if ends == "truncated" and truncated is not None:
        raise ValueError(f"columns.truncated={truncated} has nothing to add to ends=truncated; give one of them")
    if episode is None and (terminated is None or (truncated is None and columns.get("obs_next") is None)):
        raise ValueError(
            "columns.episode is null, so columns.terminated and columns.truncated must say where episodes end, 1 in "
            "their last rows"
        )
    if episode is None and columns.get("time") is not None:
        raise ValueError("columns.time orders the rows of an episode, and columns.episode is null; give both")


def names_found(role: str, words: Sequence[str], names: Sequence[str], source: str) -> list[str]:
    """The columns of a role, in their order; raises ValueError where there are none, or more than the role has."""
    columns: list[str] = []
    for word in words:
        here = [name for name in names if name == word or (word.endswith(ANY) and name.startswith(word[: -len(ANY)]))]
        if not here:
            begin = any(name.startswith(word) for name in names)
            close = difflib.get_close_matches(word, names, n=1)
            hint = f"; did you mean {word}{ANY}?" if begin else f"; did you mean {close[0]}?" if close else ""
            raise ValueError(f"{source}: dataset.columns.{role}: no column {word}; found: {shown(names)}{hint}")
        columns += here
    if twice := sorted({name for name in columns if columns.count(name) > 1}):
        raise ValueError(f"{source}: dataset.columns.{role}: {', '.join(twice)} is there twice; give each column once")
    if len(columns) > 1 and role not in SEVERAL:
        raise ValueError(f"{source}: dataset.columns.{role}: {shown(columns)} are several columns; one is allowed")
    return columns


def check_uses(chosen: Mapping[str, Sequence[str]], source: str) -> None:
    """Raise ValueError for a column that has two roles, of which none is `SHARED`."""
    uses: dict[str, str] = {}
    for role, names in chosen.items():
        for name in names if role != SHARED else ():
            if (other := uses.setdefault(name, role)) != role:
                raise ValueError(
                    f"{source}: {name} is among both dataset.columns.{other} and dataset.columns.{role}; list the "
                    "columns of one of them by name"
                )


def labels_of(words: Sequence[str], names: Sequence[str]) -> list[str] | None:
    """What stands behind the common beginning of columns of masks, without spaces; None where they are listed."""
    (first, *others) = words
    return None if others or not first.endswith(ANY) else [name[len(first) - len(ANY) :].strip() for name in names]


def names_of(
    actions: Sequence[str], stated: Sequence[str] | None, labels: Mapping[str, Sequence[str] | None], where: str
) -> tuple[str, ...]:
    """The names of all actions in their order: the stated ones, else those of masks, else those in the file by value.

    Args:
        actions: those in the file.
        stated: the key `action_names`.
        labels: what `labels_of` returned for each role of masks.
        where: file and column that messages begin with.

    Raises:
        ValueError: an action of the file is not among them, one is there twice, or nothing says which masks are whose.
    """
    if stated is None and None in labels.values():
        raise ValueError(
            f"{where}: nothing says which column of masks is which action's; give dataset.action_names in the order of "
            f"these columns, or call them by one beginning and the actions, such as may_{min(actions)}"
        )
    names = tuple(stated or labels.get("mask") or sorted(actions, key=by_value))
    if unknown := sorted({*actions} - {*names}):
        said = "dataset.action_names" if stated else "the columns of masks"
        raise ValueError(f"{where}: {shown(unknown)}: no action by {said}; allowed: {shown(names)}")
    if len({*names}) < len(names):
        raise ValueError(f"{where}: an action's name is there twice in {shown(names)}")
    return names


def by_value(name: str) -> list[tuple[bool, int | str]]:
    """The key of an order by the alphabet in which numbers inside of names count by their value."""
    parts = re.split(r"(\d+)", name)
    return [(False, int(part)) if part.isdecimal() else (True, part) for part in parts] + [(True, name)]


def in_order(mask: Array, labels: Sequence[str] | None, names: Sequence[str] | None, where: str) -> Array:
    """The columns of a mask (N, A) in the order of the actions; those of no common beginning are in it already.

    Args:
        mask: in the order of the file.
        labels: what `labels_of` returned for it.
        names: of the actions; None where they are numbers, whose order that of the labels is, if they are numbers, too.
        where: file and columns that messages begin with.

    Raises:
        ValueError: the actions have names, and the columns are not one for each.
    """
    num_columns, order = mask.shape[1], list(range(mask.shape[1]))
    if names is not None and (len(names) != num_columns or (labels is not None and {*labels} != {*names})):
        raise ValueError(
            f"{where}: columns of masks for {shown(labels or map(str, order))}, and the actions are {shown(names)}; "
            "there must be one for each"
        )
    if labels is not None and names is not None:
        order = [labels.index(name) for name in names]
    elif labels is not None and all(label.isdecimal() for label in labels):
        order.sort(key=lambda column: int(labels[column]))
    if order == sorted(order):
        return mask
    made = room(mask, len(mask))
    for rows in chunks(mask):
        made[rows] = mask[rows][:, order]
    return made
