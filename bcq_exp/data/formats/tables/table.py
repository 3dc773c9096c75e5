"""Tables in CSV and Parquet files, a row a step, whose columns the user names."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from bcq_exp.data.columns import shown
from bcq_exp.data.formats.tables import arrow
from bcq_exp.data.formats.tables.ordering import check_last, ordered
from bcq_exp.data.formats.tables.roles import (
    ENDS,
    TableColumns,
    check_ends,
    check_uses,
    in_order,
    labels_of,
    names_found,
    names_of,
)
from bcq_exp.data.formats.tables.values import read_columns
from bcq_exp.data.schema import DatasetConfig, raised
from bcq_exp.data.storage import taken
from bcq_exp.data.transitions import MASKS, Transitions
from bcq_exp.fields import one_of


@dataclass(kw_only=True)
class TableDatasetConfig(DatasetConfig):
    """A CSV or Parquet file; keys are the arguments of `read_table`."""

    path: str
    columns: dict[str, Any]
    ends: str | None = one_of(*ENDS)
    action_names: list[str] | None

    def read(self, *, allow_code_change: bool = False) -> Transitions:
        """See `read_table`."""
        return read_table(self.path, TableColumns(**self.columns), ends=self.ends, action_names=self.action_names)

    def sections(self) -> dict[str, tuple[Mapping[str, Any], type[Any]]]:
        """The section `columns`."""
        return {**super().sections(), "columns": (self.columns, TableColumns)}

    def errors(self) -> list[str]:
        """See `DatasetConfig.errors` and `check_ends`."""
        return super().errors() + raised(lambda: check_ends(self.columns, self.ends))


def read_table(
    path: str | Path, columns: TableColumns, *, ends: str | None = None, action_names: Sequence[str] | None = None
) -> Transitions:
    """Read and check a CSV or Parquet file, a batch of rows at a time; a large one's columns lie in files.

    With a column of times the rows of an episode are put in their order; without one they must stand together, in the
    order of the steps. The last row of an episode is terminal where `terminated` is 1 or `ends` says so, else
    truncated. Without `obs_next` nothing is known behind a truncated last row: it is dropped, and the row before it is
    truncated (`as_transitions`).

    An action of one column is discrete where its numbers are integers, or where it is text: texts are numbered in the
    order of `action_names`, else of the columns of `mask`, else of the alphabet
    (`by_value`). What follows the common beginning of
    the columns of `mask` is each one's action.

    Args:
        path: with a line of names; CSV has commas, semicolons, tabs or bars between columns.
        columns: of the file.
        ends: what the last row of each episode is, of `ENDS`, where `terminated` does not say.
        action_names: of all discrete actions, the first one's first; numbers are then read as names, too.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is damaged, a column is missing, a value is not allowed, a flag is set inside an episode, rows of
            an episode stand apart without times, or one has a time twice.
    """
    source = str(path)
    check_ends(vars(columns), ends)
    file = arrow.TableFile(Path(path))
    chosen = {role: names_found(role, words, file.names, source) for role, words in columns.words.items()}
    check_uses(chosen, source)
    made, ids, actions = read_columns(file, chosen, source, are_named=action_names is not None)
    labels = {role: labels_of(columns.words[role], chosen[role]) for role in MASKS if role in chosen}
    names = None
    if actions:
        names = names_of(actions, action_names, labels, f"{source}: {chosen['act'][0]}")
        made["act"] = np.array([names.index(action) for action in actions])[made["act"]]
    for role, each in labels.items():
        made[role] = in_order(made[role], each, names, f"{source}: {shown(columns.words[role])}")
    keys = {role: shown(words) for role, words in columns.words.items()}
    rows = np.arange(len(made["rew"]))
    if "episode" in made:
        order = ordered(made.pop("episode"), made.pop("time", None), ids, source, keys)
        if order.is_new:
            rows, made = order.rows, {role: taken(column, order.rows) for role, column in made.items()}
        for role in made.keys() & {*ENDS}:
            check_last(made[role], order, ids, source, keys[role])
        is_cut = made.pop("truncated", False)
        made["ends"] = order.is_last_N
        if ends is not None:
            made["terminated"] = order.is_last_N & ~np.asarray(is_cut) & (ends == "terminated")
    transitions = Transitions.from_columns(made, source, {**keys, "ends": keys.get("episode", "ends")})
    return replace(
        transitions,
        rows=rows if transitions.rows is None else rows[transitions.rows],
        obs_names=tuple(chosen["obs"]),
        action_names=names,
    )
