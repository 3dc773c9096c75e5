"""The values of a table's columns, read batch by batch, checked and converted."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from bcq_exp.data.columns import Array, converted, shown
from bcq_exp.data.formats.tables import arrow
from bcq_exp.data.formats.tables.roles import FLAGS, SEVERAL
from bcq_exp.data.storage import Pieces, is_large

NUMBERS = "finite numbers; write categories as columns of 0 and 1, and fill in what is missing or leave its row out"


class Kind(NamedTuple):
    """A kind of values.

    Args:
        read: makes (N,) float64 of a column of `TableFile.batches`.
        dtype: that is kept.
        is_allowed: of values (N,) that were read.
        allowed: the same in words.
    """

    read: Callable[[Any], Array]
    dtype: Any
    is_allowed: Callable[[Array], Array]
    allowed: str


def is_float32(values: Array) -> Array:
    """Whether values are finite, and stay so as float32."""
    return np.asarray(np.abs(values) <= np.finfo(np.float32).max)


def is_flag(values: Array) -> Array:
    """Whether values are 0 or 1."""
    return np.asarray((values == 0) | (values == 1))


class Actions:
    """The reading of an action's only column, as names or as numbers.

    Args:
        are_named: whether actions are names, be they numbers; else the first one decides.

    Attributes:
        known: the number of each name.
        are_whole: whether all are integers.
    """

    def __init__(self, *, are_named: bool) -> None:
        self.are_named: bool | None = are_named or None
        self.known: dict[Any, int] = {}
        self.are_whole = True

    def read(self, column: Any) -> Array:
        """The numbers of a column, or of its names, (N,) float64; see `arrow.numbers` and `arrow.codes`."""
        if self.are_named is None:
            self.are_named = arrow.begins_with_text(column)
        if self.are_named:
            return arrow.codes(column, self.known)
        self.are_whole = self.are_whole and arrow.are_whole(column)
        return arrow.numbers(column)


class Read(NamedTuple):
    """The columns of a table in the order of the file.

    Args:
        columns: arrays by role, (N,) or, for roles of several columns, (N, number of them).
        ids: of the episodes, by the numbers in the column `episode`.
        actions: names, by the numbers in the column `act`; empty where actions are numbers.
    """

    columns: dict[str, Array]
    ids: list[Any]
    actions: list[str]


def read_columns(file: arrow.TableFile, chosen: Mapping[str, Sequence[str]], source: str, *, are_named: bool) -> Read:
    """Read a table's columns; those of a large file lie in mapped files.

    Args:
        file: the table.
        chosen: the names of the columns of each role.
        source: file or name that messages begin with.
        are_named: see `Actions`.

    Raises:
        ValueError: the file is damaged, has no rows, or values that are not allowed.
    """
    ids: dict[Any, int] = {}
    actions = Actions(are_named=are_named)
    number, flag = Kind(arrow.numbers, np.float32, is_float32, NUMBERS), Kind(arrow.numbers, bool, is_flag, "0 or 1")
    kinds = dict.fromkeys(chosen, number) | dict.fromkeys(FLAGS, flag)
    kinds["episode"] = Kind(partial(arrow.codes, known=ids), np.int64, np.isfinite, "an id in each row")
    kinds["time"] = Kind(arrow.times, np.float64, np.isfinite, "finite numbers, or dates such as 2026-01-31 12:00")
    if len(chosen["act"]) == 1:
        kinds["act"] = Kind(actions.read, np.float64, is_float32, "actions, all of them numbers or all of them names")
    is_mapped = is_large(np.float32().nbytes * file.most_numbers(sum(map(len, chosen.values()))))
    pieces = {role: Pieces(is_mapped=is_mapped) for role in chosen}
    faults, num_rows = Faults(), 0
    for batch in file.batches(dict.fromkeys(name for names in chosen.values() for name in names)):
        for role, names in chosen.items():
            kind = kinds[role]
            found = [kind.read(batch[name]) for name in names]
            for name, values in zip(names, found, strict=True):
                faults.look(name, batch[name], ~kind.is_allowed(values), kind.allowed, num_rows)
            if not faults.said:
                kept = [values.astype(kind.dtype) for values in found]
                pieces[role].append(np.stack(kept, axis=1) if role in SEVERAL else kept[0])
        num_rows += len(found[0])
    if faults.said or not num_rows:
        raise ValueError(f"{source}: {faults.sentence() if num_rows else 'has no rows; at least one is needed'}")
    columns = {role: each.joined() for role, each in pieces.items()}
    if len(chosen["act"]) == 1 and (actions.are_named or actions.are_whole):
        columns["act"] = converted(columns["act"][:, 0], np.int64)
    return Read(columns, list(ids), list(map(str, actions.known)))


class Faults:
    """Values that are not allowed, by column: what is said of the first one, and how many there are."""

    def __init__(self) -> None:
        self.said: dict[str, str] = {}
        self.counts: Counter[str] = Counter()

    def look(self, name: str, column: Any, is_bad: Array, allowed: str, start: int) -> None:
        """Take note of the bad values of a batch.

        Args:
            name: of the column.
            column: its values as they were read.
            is_bad: which of them are, (N,).
            allowed: what they may be, in words.
            start: row of the first one in the file.
        """
        if not (bad := np.flatnonzero(is_bad)).size:
            return
        value = arrow.plain(column)[int(bad[0])].as_py()
        self.said.setdefault(
            name, f"{name} row {start + bad[0]} is {'empty' if value is None else repr(value)}; allowed: {allowed}"
        )
        self.counts[name] += bad.size

    def sentence(self) -> str:
        """The first fault of the first column that has one, and how many there are in each."""
        first, *others = self.said
        counts = f"bad rows in all: {self.counts[first]}"
        more = f"; {shown(f'{name} has {self.counts[name]}' for name in others)}" if others else ""
        return f"{self.said[first]} ({counts}{more})"
