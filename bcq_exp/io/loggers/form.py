"""The form of a logger: its schema, the run that it is told of, and the calls that it answers."""

import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

PATIENCE = 20  # seconds that the end of all logs of a process may take, where a network is slow or down


class Logger(ABC):
    """A sink of metrics whose x axis is the number of updates."""

    @abstractmethod
    def log(self, update: int, metrics: Mapping[str, float]) -> None:
        """Log metrics of `update`; several calls for one update are one row."""

    @abstractmethod
    def finish(self, summary: Mapping[str, Any] | None) -> None:
        """End the log with the run's final figures; with None where the run is stopped, and may be resumed.

        A network is not waited for.
        """

    def wait(self, deadline: float) -> None:  # noqa: B027 - most loggers have nothing to wait for
        """Wait for what `finish` has begun, until a time of `time.monotonic`."""


class Loggers(Logger):
    """Several loggers as one; without any, nothing is logged."""

    def __init__(self, *loggers: Logger) -> None:
        self._loggers = loggers

    def log(self, update: int, metrics: Mapping[str, float]) -> None:
        """Log to each."""
        for logger in self._loggers:
            logger.log(update, metrics)

    def finish(self, summary: Mapping[str, Any] | None) -> None:
        """End each."""
        for logger in self._loggers:
            logger.finish(summary)

    def wait(self, deadline: float) -> None:
        """Wait for each."""
        for logger in self._loggers:
            logger.wait(deadline)


def end_logs(loggers: Sequence[Logger], summaries: Sequence[Mapping[str, Any] | None]) -> None:
    """End the logs of runs that trained together, each with its summary, in `PATIENCE` seconds at most."""
    for logger, summary in zip(loggers, summaries, strict=True):
        logger.finish(summary)
    deadline = time.monotonic() + PATIENCE
    for logger in loggers:
        logger.wait(deadline)


@contextmanager
def ended_logs(loggers: Sequence[Logger]) -> Iterator[None]:
    """End the logs without final figures where a signal or an error ends the block."""
    try:
        yield
    except BaseException:
        with suppress(OSError):  # the first error counts
            end_logs(loggers, [None for _ in loggers])
        raise


@dataclass(frozen=True)
class LoggedRun:
    """A run, as its logger is told of it.

    Args:
        run_dir: its directory, in which the logger keeps its files.
        name: the name shown: algorithm, dataset, seed and what was typed.
        group: the runs that it is compared with: its sweep, or those of its algorithm and dataset.
        kind: its algorithm.
        config: its whole configuration as plain values, secrets masked.
        manifest: what its `manifest.json` says of data, code and machine; empty where it has none yet.
    """

    run_dir: Path
    name: str
    group: str
    kind: str
    config: dict[str, Any]
    manifest: Mapping[str, Any] = field(default_factory=dict)


@dataclass(kw_only=True)
class LoggerConfig(ABC):
    """The schema of a kind of logger; each has its own keys."""

    # Values of the keys that came since configurations were saved, which these lack.
    later_keys: ClassVar[Mapping[str, Any]] = {}

    name: str

    def errors(self) -> list[str]:
        """A sentence for each reason why this kind cannot log here, such as a package that is not installed."""
        return []

    @abstractmethod
    def begin(self, run: LoggedRun) -> Logger:
        """Begin the log of a run, or continue the one in its directory.

        A resumed run logs all its rows again, from the first on: the log must show each of them once, and none that
        was logged after the checkpoint.

        Raises:
            ValueError: the log cannot begin.
        """
