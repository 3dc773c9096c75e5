"""The form of a logger: its schema, the run that it is told of, and the calls that it answers."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol


class Logger(Protocol):
    """A sink of metrics whose x axis is the number of updates."""

    def log(self, update: int, metrics: Mapping[str, float]) -> None:
        """Log metrics of `update`; several calls for one update are one row."""

    def finish(self, summary: Mapping[str, Any]) -> None:
        """End the log with the run's final figures, without those that it has not."""


class Loggers:
    """Several loggers as one; without any, nothing is logged."""

    def __init__(self, *loggers: Logger) -> None:
        self._loggers = loggers

    def log(self, update: int, metrics: Mapping[str, float]) -> None:
        """Log to each."""
        for logger in self._loggers:
            logger.log(update, metrics)

    def finish(self, summary: Mapping[str, Any]) -> None:
        """End each."""
        for logger in self._loggers:
            logger.finish(summary)


@dataclass(frozen=True)
class LoggedRun:
    """A run, as its logger is told of it.

    Args:
        run_dir: its directory, in which the logger keeps its files.
        name: the name shown: algorithm, dataset, seed and what was typed.
        group: the runs that it is compared with: its sweep, or those of its algorithm and dataset.
        config: its whole configuration as plain values, secrets masked.
    """

    run_dir: Path
    name: str
    group: str
    config: Mapping[str, Any]


@dataclass(kw_only=True)
class LoggerConfig(ABC):
    """The schema of a kind of logger; each has its own keys."""

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
