"""Progress of a run: a bar on a terminal, plain lines elsewhere."""

import logging
import os
import sys
from collections.abc import Iterable, Mapping
from datetime import timedelta
from time import monotonic
from types import TracebackType
from typing import Self

from rich import progress
from rich.console import Console, RenderableType
from rich.text import Text

PLAIN_PERIOD = 10.0  # seconds between plain lines, at least

log = logging.getLogger(__name__)


class _Bar(progress.Progress):
    """A bar with a line of facts below it."""

    facts = ""

    def get_renderables(self) -> Iterable[RenderableType]:
        """The bar, then the facts, cut at the terminal's edge."""
        yield from super().get_renderables()
        yield Text(self.facts, no_wrap=True, overflow="ellipsis")


class Progress:
    """Shows losses, last score, updates a second and time left while it is entered.

    Where stderr is no terminal, or under CI, these are log lines, one in ten seconds at most and one at the end. Speed
    counts from entering, so that a resumed run shows its own.

    Args:
        total: updates of the whole run.
        start: updates that were made before, in the run that this one resumes.
        description: what is trained on what.
    """

    def __init__(self, total: int, start: int, description: str) -> None:
        self._total = total
        self._start = start
        self._description = description
        self._score: float | None = None
        self._unlogged = ""
        console = Console(stderr=True)
        self._bar: _Bar | None = None
        if sys.stderr.isatty() and console.is_interactive and not os.environ.get("CI"):
            self._bar = _Bar(
                progress.TextColumn("{task.description}", markup=False),
                progress.BarColumn(),
                progress.MofNCompleteColumn(),
                console=console,
            )
            self._task = self._bar.add_task(description, total=total, completed=start)

    def __enter__(self) -> Self:
        self._started = self._logged = monotonic()
        if self._bar:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._bar:
            self._bar.stop()
        elif self._unlogged:
            log.info(self._unlogged)

    def advance(self, update: int, metrics: Mapping[str, float], score: float | None) -> None:
        """Shows that `update` updates of the run are made.

        Args:
            update: updates of the whole run so far, those before `start` included.
            metrics: of these the losses are shown, the names that end in `loss`.
            score: of a new evaluation; None keeps the last one.
        """
        now = monotonic()
        self._score = self._score if score is None else score
        facts = self._facts(update, metrics, now - self._started)
        if self._bar:
            self._bar.facts = facts
            self._bar.update(self._task, completed=update)
            return
        self._unlogged = f"{self._description} {update}/{self._total} {facts}"
        if now - self._logged >= PLAIN_PERIOD:
            log.info(self._unlogged)
            self._logged = now
            self._unlogged = ""

    def _facts(self, update: int, metrics: Mapping[str, float], seconds: float) -> str:
        facts = [
            f"{name.removeprefix('train/')} {value:.4g}" for name, value in metrics.items() if name.endswith("loss")
        ]
        if self._score is not None:
            facts.append(f"score {self._score:.4g}")
        if update > self._start and seconds > 0:
            rate = (update - self._start) / seconds
            facts += [f"{rate:.4g} updates/s", f"{timedelta(seconds=round((self._total - update) / rate))} left"]
        return ", ".join(facts)
