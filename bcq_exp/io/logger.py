"""Where metrics go: a CSV file, Weights & Biases."""

import csv
import io
import logging
import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from io import FileIO
from pathlib import Path
from typing import Any, Literal, Protocol

from bcq_exp.io.files import naming, sync, write_bytes
from bcq_exp.io.masking import masked_words

MAX_NAME = 128  # characters that W&B's server takes

log = logging.getLogger(__name__)


class Logger(Protocol):
    """A sink of metrics whose x axis is the number of updates."""

    def log(self, update: int, metrics: Mapping[str, float]) -> None:
        """Writes metrics of `update`; several calls for one update are one row."""

    def finish(self, summary: Mapping[str, Any]) -> None:
        """Ends the log with the run's final figures."""


class Loggers:
    """Several loggers as one."""

    def __init__(self, *loggers: Logger) -> None:
        self._loggers = loggers

    def log(self, update: int, metrics: Mapping[str, float]) -> None:
        """Writes to each logger."""
        for logger in self._loggers:
            logger.log(update, metrics)

    def finish(self, summary: Mapping[str, Any]) -> None:
        """Ends each logger."""
        for logger in self._loggers:
            logger.finish(summary)


class CSVLogger:
    """A CSV file with a row a logged update, which other processes see as soon as it is logged.

    A metric that a row lacks is an empty field; values that are not finite read `nan`, `inf`, `-inf`.

    Args:
        path: the file.
        columns: names of the metrics, the columns after `update`.
    """

    def __init__(self, path: Path, columns: Sequence[str]) -> None:
        self._path, self._columns = path, ("update", *columns)
        self._file: FileIO | None = None

    def begin(self, text: str | None = None) -> None:
        """Begins the file with `text`, what `read` gave when a checkpoint was made; without it, with no rows.

        Rows that the file has lost or that were altered since then are restored, and later ones go.

        Raises:
            ValueError: without `text` there is a file of other columns, or `text` has other columns.
        """
        header, is_there = _line(self._columns), self._path.exists()
        found = self._path.read_bytes() if is_there else b""
        if text is None:
            if not header.startswith(found.partition(b"\n")[0]):
                raise ValueError(
                    f"{self._path}: its first line is not {header.decode().strip()}, the columns of this run;"
                    " move the file away or choose another run directory"
                )
            text = header.decode()
        rows = list(csv.reader(io.StringIO(text)))
        if tuple(rows[0]) != self._columns:
            raise ValueError(f"{self._path}: the checkpoint's columns are {rows[0]}, those of this run {self._columns}")
        content = text.encode()
        if not found.startswith(content):
            if is_there and found:
                log.warning("%s was cut or altered; its rows are restored from the checkpoint", self._path)
            elif len(rows) > 1:
                log.warning("%s was missing; its rows are restored from the checkpoint", self._path)
        if found != content:
            write_bytes(self._path, content)
        self._file = self._path.open("r+b", buffering=0)
        self._row = dict(zip(self._columns, rows[-1], strict=True)) if len(rows) > 1 else {}
        self._row_start = len(content) - (len(_line(rows[-1])) if self._row else 0)

    def rows(self) -> Iterator[tuple[int, dict[str, float]]]:
        """The update and the metrics of each row."""
        for row in csv.DictReader(io.StringIO(self.read())):
            yield int(row["update"]), {name: float(row[name]) for name in self._columns[1:] if row[name]}

    def read(self) -> str:
        """All of the file, once it is on disk."""
        if self._file is None:
            self.begin()
        sync(self._path)
        return self._path.read_text(encoding="utf-8")

    def log(self, update: int, metrics: Mapping[str, float]) -> None:
        """Writes the row of `update`, or completes it where it is the last one.

        Raises:
            ValueError: a metric is not one of the columns, or a later update has been logged.
            OSError: the disk refuses it.
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
            while line:  # a disk that is nearly full takes a part, then refuses
                line = line[self._file.write(line) :]
            self._file.truncate()

    def finish(self, summary: Mapping[str, Any]) -> None:
        """Closes the file, which has rows only: the summary is not in it."""
        if self._file is not None:
            self._file.close()


class WandbLogger:
    """A Weights & Biases run: offline unless logged in, or as the environment variable WANDB_MODE says.

    Args:
        directory: the run directory; W&B keeps its files in `wandb` below it.
        config: the run's full configuration, with nothing left to resolve.
        project: W&B's project.
        group: W&B's group, the runs that are compared as one.
        tags: W&B's tags.
        job_type: W&B's job type.
        name: the name shown.
        run_id: the run to continue (`run_id` of the logger that began it); None begins one.

    Raises:
        ValueError: W&B cannot begin the run.
    """

    def __init__(
        self,
        directory: Path,
        config: Mapping[str, Any],
        *,
        project: str,
        group: str | None,
        tags: Sequence[str],
        job_type: str,
        name: str | None,
        run_id: str | None,
    ) -> None:
        import wandb  # a second to import, for those only who use it

        try:
            with masked_command():
                self._run = wandb.init(
                    dir=directory,
                    config=dict(config),
                    project=project,
                    group=group,
                    tags=list(tags),
                    job_type=job_type,
                    name=name and name[:MAX_NAME],
                    id=run_id,
                    resume=None if run_id is None else "allow",
                    mode=wandb_mode(),
                    reinit="create_new",
                    settings=wandb.Settings(silent=True, console="off"),
                )
        except wandb.Error as error:
            raise ValueError(f"W&B cannot begin a run: {error}; WANDB_MODE=offline does without its server") from error
        self._run.define_metric("update")
        self._run.define_metric("*", step_metric="update")

    @property
    def run_id(self) -> str:
        """The id to continue this run with."""
        return self._run.id

    def log(self, update: int, metrics: Mapping[str, float]) -> None:
        """Adds metrics of `update`; W&B drops those of updates that it already has, as a resumed run repeats them."""
        self._run.log({"update": update, **metrics}, step=update)

    def finish(self, summary: Mapping[str, Any]) -> None:
        """Adds the summary and ends the run; W&B has all of it on disk when this process ends."""
        self._run.summary.update(dict(summary))
        self._run.finish()


@contextmanager
def masked_command() -> Iterator[None]:
    """Hides the secrets of the command line, which W&B keeps in a run's files, while it is entered."""
    typed = sys.argv
    sys.argv = masked_words(typed)
    try:
        yield
    finally:
        sys.argv = typed


def own_settings(overrides: Iterable[str]) -> list[str]:
    """What was typed for a run, but for what is shown of every run and what does not change its result."""
    shown = ("seed=", "algorithm=", "dataset=", "experiment=", "hydra.", "resume=", "logger")
    return [line for line in overrides if not line.startswith(shown)]


def wandb_mode() -> Literal["online", "offline"] | None:
    """`online` for who is logged in, else `offline`; None where WANDB_MODE is set, which W&B itself obeys."""
    import wandb

    if "WANDB_MODE" in os.environ:
        return None
    return "online" if wandb.login(prompt=False, verify=False) else "offline"


def _line(fields: Sequence[str]) -> bytes:
    line = io.StringIO()
    csv.writer(line, lineterminator="\n").writerow(fields)
    return line.getvalue().encode()
