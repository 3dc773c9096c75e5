"""Rows of a table with their runs, of which every seed has ended: trained here, or kept in the table's folder."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from bcq_exp.analysis.comparison import Row
from bcq_exp.analysis.results import Result, behaviour_return, read_results
from bcq_exp.io.summary import SUMMARY
from experiments.reproduce.cells import Cell, identity

Rows = dict[str, Row]
Runs = dict[tuple[str, frozenset[str]], list[Result]]


def ended_rows(cells: Sequence[Cell], kept: Mapping[Cell, Rows]) -> dict[Cell, Rows]:
    """The rows of each cell that have ended, in the protocol's order; no cell without any.

    Args:
        cells: of a budget.
        kept: rows that count where this machine has not trained them.
    """
    trained = {cell: {**kept.get(cell, {}), **trained_rows(cell)} for cell in cells}
    by_name = {(cell.dataset, name): row for cell, rows in trained.items() for name, row in rows.items()}
    found = {}
    for cell, rows in trained.items():
        settings = cell.learner.settings(cell.algorithm)
        others = {name: by_name.get((cell.dataset, other)) for name, other in cell.learner.same.items()}
        rows |= {name: restated(cell, name, row) for name, row in others.items() if row is not None}
        found[cell] = {name: rows[name] for name in settings if name in rows}
    return {cell: rows for cell, rows in found.items() if rows}


def trained_rows(cell: Cell) -> Rows:
    """The rows that sweeps in the cell's folder have trained; of a row that several have, the first.

    Raises:
        ValueError: a run was trained by other words than the protocol has.
    """
    if not any(cell.folder.rglob(SUMMARY)):
        return {}
    sweeps = defaultdict[Path, list[Result]](list)
    for result in read_results([cell.folder]):
        sweeps[result.directory.parent].append(result)
    rows: Rows = {}
    own = {key for keys in cell.identities().values() for key in keys}
    for place, results in sorted(sweeps.items()):
        runs = by_words(results)
        if others := runs.keys() - own:
            (_, words), *_ = others
            raise ValueError(
                f"{place} has a run that the protocol does not train: {' '.join(sorted(words))}. "
                "Move the folder elsewhere, give another folder=DIR, or undo what changed in the protocol"
            )
        rows = {**whole_rows(cell, runs), **rows}
    return rows


def by_words(results: Iterable[Result]) -> Runs:
    """Runs by their dataset and what they were told."""
    runs: Runs = {}
    for run in results:
        runs.setdefault((run.summary["dataset"], identity(run.summary["overrides"])), []).append(run)
    return runs


def whole_rows(cell: Cell, runs: Runs) -> Rows:
    """The rows of which there is each seed once; their runs are taken out of `runs`."""
    rows = {}
    for name, keys in cell.identities().items():
        if all(len(runs.get(key, ())) == 1 for key in keys):
            rows[name] = Row(name, [run for key in keys for run in runs.pop(key)])
    return rows


def restated(cell: Cell, name: str, row: Row) -> Row:
    """Another cell's row with the words that this one would have typed for the same setting."""
    words = [f"{key}={value}" for key, value in cell.learner.settings(cell.algorithm)[name].items()]
    return Row(name, [replace(run, summary={**run.summary, "overrides": words}) for run in row.runs])


def behaviour_of(dataset: str, rows: Rows) -> float:
    """The mean return of the data that all rows of a dataset learned from.

    Raises:
        ValueError: it is not one, since two machines may record different data.
    """
    by_return: dict[float, list[str]] = {}
    for name, row in rows.items():
        by_return.setdefault(behaviour_return(row.runs[0]), []).append(name)
    if len(by_return) > 1:
        found = "; ".join(f"{', '.join(names)} on data of mean return {value}" for value, names in by_return.items())
        raise ValueError(
            f"{dataset}: rows learned from different data: {found}. Move the folders of one kind elsewhere"
        )
    (value,) = by_return
    return value


def missing_rows(cells: Sequence[Cell], found: Mapping[Cell, Rows], dataset: str) -> list[str]:
    """What has not ended on a dataset: learners, or rows of those of which some have."""
    missing = []
    for cell in cells:
        if cell.dataset == dataset:
            rows = [name for name in cell.learner.settings(cell.algorithm) if name not in found.get(cell, {})]
            missing += rows if cell in found else [cell.algorithm]
    return missing
