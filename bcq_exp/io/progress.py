"""Progress of a run, or of other work: a bar, facts and a curve on a terminal, log lines elsewhere."""

import logging
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from math import isfinite
from statistics import median
from time import monotonic
from types import MappingProxyType, TracebackType
from typing import Self, TextIO

from rich import progress
from rich.console import Console, RenderableType
from rich.status import Status
from rich.table import Column
from rich.text import Text

PLAIN_PERIOD = 10.0  # seconds between plain lines, at least
LIVE_PERIOD = 2.0  # seconds between two drawings on a terminal, at least: a drawing takes about a millisecond
BLOCKS = "▁▂▃▄▅▆▇█"
SHOWN = {"score": "eval/normalized_score", "return": "eval/return", "estimate": "eval/estimate"}  # the first is judged

log = logging.getLogger(__name__)


def terminal() -> Console | None:
    """A console on stderr; None where stderr is no terminal, or under CI."""
    console = Console(stderr=True)
    return console if sys.stderr.isatty() and console.is_interactive and not os.environ.get("CI") else None


class _Bar(progress.Progress):
    """A bar with lines below it, cut at the terminal's edge."""

    def __init__(self, console: Console, description: str, total: int, completed: int) -> None:
        self.lines: list[str] = []
        width = max(4, min(40, console.width - 60))
        room = max(1, console.width - width - 2 * len(str(total)) - 3)  # columns are a space apart
        super().__init__(
            progress.TextColumn("{task.description}", markup=False, table_column=Column(no_wrap=True, max_width=room)),
            progress.BarColumn(bar_width=width),
            progress.TextColumn("{task.completed}/{task.total}", table_column=Column(no_wrap=True)),
            console=console,
            auto_refresh=False,
        )
        self.task_id = self.add_task(description, total=total, completed=completed)
        self._logs: list[logging.StreamHandler[TextIO]] = []

    def start(self) -> None:
        """Begin to draw; log lines that go to stderr stand above the bar."""
        stream = sys.stderr
        handlers = logging.getLogger().handlers
        self._logs = [each for each in handlers if isinstance(each, logging.StreamHandler) and each.stream is stream]
        super().start()
        for handler in self._logs:
            handler.setStream(sys.stderr)

    def stop(self) -> None:
        """Draw for the last time."""
        super().stop()
        for handler in self._logs:
            handler.setStream(sys.stderr)

    def get_renderables(self) -> Iterable[RenderableType]:
        """Yield the bar, then the lines."""
        yield from super().get_renderables()
        for line in self.lines:
            yield Text(line, no_wrap=True, overflow="ellipsis")

    def draw(self, completed: int, lines: list[str]) -> None:
        """Draw anew."""
        self.lines = lines
        self.update(self.task_id, completed=completed)
        self.refresh()


def sparkline(values: Sequence[float], width: int) -> str:
    """The last `width` values as blocks whose height is linear between their minimum and maximum.

    A value that is not finite is a space. Where all values are equal they are blocks of half the height.
    """
    shown = list(values)[-width:] if width > 0 else []
    finite = [value for value in shown if isfinite(value)]
    low, high = (min(finite), max(finite)) if finite else (0.0, 0.0)
    top = len(BLOCKS) - 1
    heights = [top // 2 if high == low else round(top * (value - low) / (high - low)) if isfinite(value) else None
               for value in shown]  # fmt: skip
    return "".join(" " if height is None else BLOCKS[height] for height in heights)


def judged(evaluations: Sequence[Mapping[str, float]]) -> tuple[str, list[float]]:
    """What evaluations are judged by, and its values: the score where each has one, else return, else estimate."""
    ended = [evaluation for evaluation in evaluations if evaluation]
    known = [label for label, key in SHOWN.items() if all(key in evaluation for evaluation in ended)]
    return (known[0], [evaluation[SHOWN[known[0]]] for evaluation in ended]) if known else ("", [])


class Progress:
    """Show the progress of a run while entered: losses, last score or return, updates a second and time left.

    For a population: the number of members, how many have failed, and the best and the median score (or return) in
    place of the losses.

    On a terminal there are three lines: a bar; the time left and these facts; and the curve of the evaluations since
    entering, of a population the median of its members, beside what the behaviour that made the data reaches.

    Where stderr is no terminal, or under CI, the facts are log lines, at most one in `PLAIN_PERIOD` and one at the end.
    Speed counts from entering, so a resumed run shows its own.

    Args:
        total: updates of the whole run.
        start: updates that were made before this process.
        description: the algorithm and its dataset.
        num_members: runs that train together, at least 1.
        behaviour: the behaviour's figure by what evaluations are judged by, `score` or `return`; where known.
    """

    def __init__(
        self,
        total: int,
        start: int,
        description: str,
        num_members: int,
        behaviour: Mapping[str, float | None] = MappingProxyType({}),
    ) -> None:
        self._total = total
        self._start = self._update = start
        self._description = description
        self._num_members = num_members
        self._behaviour = behaviour
        self._metrics: Mapping[str, float] = {}
        self._evaluations: Sequence[Mapping[str, float]] = ()
        self._num_failed, self._compile_seconds, self._evaluating = 0, 0.0, ""
        self._curve: list[float] = []
        self._on_curve: dict[int, Mapping[str, float]] = {}  # the evaluations of its last point, by identity
        self._is_shown = True  # what is known has been shown
        console = terminal()
        self._bar = _Bar(console, description, total, start) if console else None
        self._period = LIVE_PERIOD if self._bar else PLAIN_PERIOD

    def __enter__(self) -> Self:
        self._started = self._advanced = monotonic()
        self._shown = self._started - (self._period if self._bar else 0.0)
        if self._bar:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if not self._is_shown:
            self._show()
        if self._bar:
            self._bar.stop()

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
        self._update, self._metrics, self._evaluations = update, metrics, evaluations
        self._num_failed, self._compile_seconds, self._evaluating = num_failed, compile_seconds, ""
        if self._bar:
            self._extend({id(each): each for each in evaluations if each})
        self._advanced = monotonic()
        self._show_if_due(self._advanced)

    def evaluating(self, line: str) -> None:
        """Show the progress of an evaluation, such as `episodes` words it, until the next `advance`."""
        self._evaluating = line
        self._show_if_due(monotonic())

    def _show_if_due(self, now: float) -> None:
        """Show what is known once in a period; otherwise its words are not even composed."""
        self._is_shown = False
        if now - self._shown >= self._period:
            self._shown = now
            self._show()

    def _show(self) -> None:
        label, values = judged(self._evaluations)
        if self._evaluating:
            whose = f"{self._num_members} members: " if self._num_members > 1 else ""
            line = f"evaluating {whose}{self._evaluating}"
        else:
            facts, speed = self._facts(label, values), self._speed()
            ordered = [*speed[::-1], *facts] if self._bar else [*facts, *speed]
            line = (", " if self._num_members == 1 else " | ").join(ordered)
        if self._bar:
            curve = self._curve_of(label)
            self._bar.draw(self._update, [line, curve] if curve else [line])
        else:
            log.info(f"{self._description} {self._update}/{self._total} {line}")
        self._is_shown = True

    def _extend(self, evaluations: dict[int, Mapping[str, float]]) -> None:
        """Add a point to the curve where one of the evaluations is new."""
        if evaluations.keys() - self._on_curve.keys():
            self._on_curve = evaluations
            if values := judged(self._evaluations)[1]:
                self._curve.append(median(values))

    def _curve_of(self, label: str) -> str:
        """The line of the curve; empty without one, and where the terminal has no such characters."""
        if self._bar is None or not self._curve or self._bar.console.options.ascii_only:
            return ""
        width, last, behaviour = self._bar.console.width, self._curve[-1], self._behaviour.get(label)
        name = label if self._num_members == 1 else f"median {label}"
        said = f"{last:.4g}"
        if behaviour is not None:
            said += f", behaviour {behaviour:.4g}" + (f" ({last - behaviour:+.4g})" if width >= 60 else "")
        return f"{name} {sparkline(self._curve, min(40, width - len(name) - len(said) - 2))} {said}"

    def _facts(self, label: str, values: Sequence[float]) -> list[str]:
        if self._num_members == 1:
            of_loss = {name: value for name, value in self._metrics.items() if name.endswith("loss")}
            losses = {name.removeprefix("train/"): value for name, value in of_loss.items()}
            return [f"{name} {value:.4g}" for name, value in losses.items()] + [
                f"{label} {value:.4g}" for value in values
            ]
        facts = [f"{self._num_members} members" + (f", {self._num_failed} failed" if self._num_failed else "")]
        return facts + ([f"best {label} {max(values):.4g} median {median(values):.4g}"] if values else [])

    def _speed(self) -> list[str]:
        """Updates a second and the time left; nothing before the first update."""
        seconds = self._advanced - self._started - self._compile_seconds
        if self._update <= self._start or seconds <= 0:
            return []
        rate = (self._update - self._start) / seconds
        left = timedelta(seconds=round((self._total - self._update) / rate))
        return [f"{rate:.4g} updates/s" + (f" x {self._num_members}" if self._num_members > 1 else ""), f"{left} left"]


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
