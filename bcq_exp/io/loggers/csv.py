"""`metrics.csv`, which every run has."""

import csv
import io
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import Any

from bcq_exp.io.files import naming, sync, write_bytes
from bcq_exp.io.loggers.form import LoggedRun, Logger, LoggerConfig, Loggers

log = logging.getLogger(__name__)


class CSVLogger(Logger):
    """A CSV file, a row a logged update; other processes see a row as soon as it is logged.

    A metric that was not logged is an empty field; values that are not finite read `nan`, `inf`, `-inf`.

    Args:
        path: the file.
        columns: names of the metrics, the columns after `update`.
    """

    def __init__(self, path: Path, columns: Sequence[str]) -> None:
        self._path, self._columns = path, ("update", *columns)
        self._file: FileIO | None = None

    def begin(self, text: str | None = None) -> None:
        """Begin the file with `text`, its content when a checkpoint was made; without `text`, with no rows.

        Rows of `text` that the file lacks or that were altered are restored; later rows are removed.

        Raises:
            ValueError: `text`, or without it the file that is there, has other columns.
        """
        header, is_there = _line(self._columns), self._path.exists()
        before = self._path.read_bytes() if is_there else b""
        if text is None:
            if not header.startswith(before.partition(b"\n")[0]):
                raise ValueError(
                    f"{self._path}: its first line is not {header.decode().strip()}, the columns of this run;"
                    " move the file away or choose another run directory"
                )
            text = header.decode()
        rows = list(csv.reader(io.StringIO(text)))
        if tuple(rows[0]) != self._columns:
            raise ValueError(f"{self._path}: the checkpoint's columns are {rows[0]}, those of this run {self._columns}")
        content = text.encode()
        if not before.startswith(content):
            if is_there and before:
                log.warning("%s was cut or altered; its rows are restored from the checkpoint", self._path)
            elif len(rows) > 1:
                log.warning("%s was missing; its rows are restored from the checkpoint", self._path)
        if before != content:
            write_bytes(self._path, content)
        self._file = self._path.open("r+b", buffering=0)
        self._row = dict(zip(self._columns, rows[-1], strict=True)) if len(rows) > 1 else {}
        self._row_start = len(content) - (len(_line(rows[-1])) if self._row else 0)

    def rows(self) -> Iterator[tuple[int, dict[str, float]]]:
        """Yield the update and the metrics of each row."""
        for row in csv.DictReader(io.StringIO(self.read())):
            yield int(row["update"]), {name: float(row[name]) for name in self._columns[1:] if row[name]}

    def read(self) -> str:
        """The whole file, flushed to disk first."""
        if self._file is None:
            self.begin()
        sync(self._path)
        return self._path.read_text(encoding="utf-8")

    def log(self, update: int, metrics: Mapping[str, float]) -> None:
        """Write the row of `update`, or complete it where it is the last row.

        Raises:
            ValueError: a metric is not one of the columns, or a later update has been logged.
            OSError: the row cannot be written.
        """
        if self._file is None:
            self.begin()
        assert self._file is not None
        if unknown := sorted(set(metrics) - set(self._columns[1:])):
            raise ValueError(f"{self._path}: no column for {unknown}; the metrics are {list(self._columns[1:])}")
        last_update = int(self._row.get("update", update))
        if update < last_update:
            raise ValueError(f"{self._path}: update {update} after update {last_update}; begin the file anew")
        if not self._row or update > last_update:
            self._row = {"update": str(update)}
            self._row_start = self._file.seek(0, os.SEEK_END)
        self._row |= {name: repr(float(value)) for name, value in metrics.items()}
        line = memoryview(_line([self._row.get(column, "") for column in self._columns]))
        self._file.seek(self._row_start)
        with naming(self._path):
            while line:  # a disk that is nearly full writes a part, then fails
                line = line[self._file.write(line) :]
            self._file.truncate()

    def finish(self, summary: Mapping[str, Any] | None) -> None:
        """Close the file; the summary is not part of it."""
        if self._file is not None:
            self._file.close()


def _line(fields: Sequence[str]) -> bytes:
    line = io.StringIO()
    csv.writer(line, lineterminator="\n").writerow(fields)
    return line.getvalue().encode()


@dataclass(kw_only=True)
class CSVLoggerConfig(LoggerConfig):
    """`metrics.csv` alone."""

    def begin(self, run: LoggedRun) -> Logger:
        """Nothing more: the trainer writes `metrics.csv` whatever the logger."""
        return Loggers()
