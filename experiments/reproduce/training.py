"""Training of the rows of a table that have not ended, cell by cell or several side by side."""

import subprocess
import time
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from filelock import FileLock

from bcq_exp.io.files import read_json, write_json
from experiments.reproduce.cells import Cell
from experiments.reproduce.rows import trained_rows

SECONDS = "seconds.json"  # of wall time, by dataset and row; in the folder of a budget


def train_all(
    wanted: Mapping[Cell, Collection[str]], ended: Mapping[Cell, Collection[str]], folder: Path, num_jobs: int
) -> None:
    """Train the rows that are wanted and have not ended, those of other cells too where a sweep fails.

    Args:
        wanted, ended: rows by cell.
        folder: of the budget, on this machine.
        num_jobs: sweeps that train side by side.

    Raises:
        ValueError: a sweep has failed, or a row that it has trained cannot be read.
    """
    left = {cell: cell.left(rows, ended.get(cell, ())) for cell, rows in wanted.items()}
    with ThreadPoolExecutor(num_jobs) as pool:
        started = [pool.submit(timed, cell, rows, ended.get(cell, ()), folder) for cell, rows in left.items() if rows]
    if failures := [str(error) for future in started if (error := future.exception())]:
        raise ValueError("\n".join(failures))


def timed(cell: Cell, rows: Sequence[str], ended: Collection[str], folder: Path) -> None:
    """Train rows of a cell, and add to the seconds of each that had not ended an equal share of this start's."""
    start, path = time.monotonic(), folder / SECONDS
    keys = [row_key(cell, row) for row in rows if row not in ended]
    try:
        train(cell, rows)
    finally:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_suffix(".lock")):
            before, share = read_seconds(folder), (time.monotonic() - start) / len(keys)
            write_json(path, {**before, **{name: before.get(name, 0.0) + share for name in keys}})
    if unread := {*rows} - trained_rows(cell).keys():
        raise ValueError(
            f"{', '.join(sorted(unread))} on {cell.dataset}: runs of {cell.sweep(rows)} are not whole (see above)"
        )


def read_seconds(folder: Path) -> dict[str, float]:
    """The seconds of each row that was trained in a folder, by `row_key`; those of rows that have not ended too."""
    return read_json(folder / SECONDS) if (folder / SECONDS).is_file() else {}


def row_key(cell: Cell, row: str) -> str:
    """A row's name among the seconds of a folder."""
    return f"{cell.dataset} {row}"


def train(cell: Cell, rows: Sequence[str]) -> None:
    """Train what has not ended of a sweep over some rows.

    Raises:
        ValueError: the command has failed.
    """
    done = subprocess.run(cell.command(rows), stdout=subprocess.DEVNULL)  # the table of each sweep alone
    if done.returncode:
        raise ValueError(
            f"{cell.algorithm} on {cell.dataset} has not ended (see above); the same command goes on from here"
        )
