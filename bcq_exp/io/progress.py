"""Progress of a run, or of other work: a bar on a terminal, log lines elsewhere."""

import logging
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from statistics import median
from time import monotonic
from types import TracebackType
from typing import Self

from rich import progress
from rich.console import Console, RenderableType
from rich.status import Status
from rich.text import Text

PLAIN_PERIOD = 10.0  # seconds between plain lines, at least

log = logging.getLogger(__name__)


def terminal() -> Console | None:
    """A console on stderr; None where stderr is no terminal, or under CI."""
    console = Console(stderr=True)
    return console if sys.stderr.isatty() and console.is_interactive and not os.environ.get("CI") else None


class _Bar(progress.Progress):
    """A bar with a line of facts below it."""

    facts = ""

    def get_renderables(self) -> Iterable[RenderableType]:
        """Yield the bar, then the facts, cut at the terminal's edge."""
        yield from super().get_renderables()
        yield Text(self.facts, no_wrap=True, overflow="ellipsis")


class Progress:
    """Show the progress of a run while entered: losses, last score or return, updates a second and time left.

    For a population: the number of members, how many have failed, and the best and the median score (or return) in
    place of the losses.

    Where stderr is no terminal, or under CI, these are log lines, at most one in `PLAIN_PERIOD` and one at the end.
    Speed counts from entering, so a resumed run shows its own.

    Args:
        total: updates of the whole run.
        start: updates that were made before this process.
        description: the algorithm and its dataset.
        num_members: runs that train together, at least 1.
    """

    def __init__(self, total: int, start: int, description: str, num_members: int) -> None:
        self._total = total
        self._start = self._update = start
        self._description = description
        self._num_members = num_members
        self._unlogged = ""
        console = terminal()
        self._bar: _Bar | None = None
        if console:
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

    def advance(
        self,
        update: int,
        metrics: Mapping[str, float],
        evaluations: Sequence[Mapping[str, float]],
        num_failed: int,
        compile_seconds: float = 0.0,
    ) -> None:
        """Show that the run has made `update` updates.

        Args:
            update: updates of the whole run so far, those before `start` included.
            metrics: those whose names end in `loss` are shown.
            evaluations: the last evaluation of each member that has not failed, empty before the first. The normalised
                score is shown where each has one, else the return, else the estimate.
            num_failed: members that have failed.
            compile_seconds: spent on compiling since entering; left out of speed and time left.
        """
        now = monotonic()
        self._update = update
        if self._bar:
            self._bar.update(self._task, completed=update)
        self._show(self._facts(update, metrics, evaluations, num_failed, now - self._started - compile_seconds), now)

    def evaluating(self, line: str) -> None:
        """Show the progress of an evaluation, such as `episodes` words it, until the next `advance`."""
        whose = f"{self._num_members} members: " if self._num_members > 1 else ""
        self._show(f"evaluating {whose}{line}", monotonic())

    def _show(self, facts: str, now: float) -> None:
        if self._bar:
            self._bar.facts = facts
            return
        self._unlogged = f"{self._description} {self._update}/{self._total} {facts}"
        if now - self._logged >= PLAIN_PERIOD:
            log.info(self._unlogged)
            self._logged = now
            self._unlogged = ""

    def _facts(
        self,
        update: int,
        metrics: Mapping[str, float],
        evaluations: Sequence[Mapping[str, float]],
        num_failed: int,
        seconds: float,
    ) -> str:
        ended = [evaluation for evaluation in evaluations if evaluation]
        shown = {"score": "eval/normalized_score", "return": "eval/return", "estimate": "eval/estimate"}
        known = [label for label, key in shown.items() if all(key in evaluation for evaluation in ended)]
        label, values = "", list[float]()
        if known:
            label = known[0]
            values = [evaluation[shown[label]] for evaluation in ended]
        if self._num_members == 1:
            losses = {name.removeprefix("train/"): value for name, value in metrics.items() if name.endswith("loss")}
            facts = [f"{name} {value:.4g}" for name, value in losses.items()]
            facts += [f"{label} {value:.4g}" for value in values]
            times = ""
        else:
            facts = [f"{self._num_members} members" + (f", {num_failed} failed" if num_failed else "")]
            facts += [f"best {label} {max(values):.4g} median {median(values):.4g}"] if values else []
            times = f" x {self._num_members}"
        if update > self._start and seconds > 0:
            rate = (update - self._start) / seconds
            left = timedelta(seconds=round((self._total - update) / rate))
            facts += [f"{rate:.4g} updates/s{times}", f"{left} left"]
        return (", " if self._num_members == 1 else " | ").join(facts)


def episodes(num_ended: int, num_steps: int) -> str:
    """The progress of an evaluation in words."""
    return f"{num_ended} episodes ended, {num_steps:,} steps"


class Board:
    """Show one line while entered: in place on a terminal, elsewhere as a log line when it changes.

    Args:
        period: minimum seconds between log lines, and before the first.
    """

    def __init__(self, period: float = 0.0) -> None:
        console = terminal()
        self._status = Status("", console=console) if console else None
        self._period, self._shown = period, ""

    def __enter__(self) -> Self:
        self._logged = monotonic()
        if self._status:
            self._status.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._status:
            self._status.stop()

    def show(self, line: str) -> None:
        """Show a line in place of the last one."""
        if self._status:
            self._status.update(line)
        elif line != self._shown and (now := monotonic()) - self._logged >= self._period:
            log.info(line)
            self._shown, self._logged = line, now
