"""Parts of a population side by side: threads that take the part that is furthest behind, piece by piece."""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Condition

import torch

from bcq_exp.engine.part import Part, Step
from bcq_exp.engine.update import Update

PIECE = 0.05  # seconds of work that a thread takes at a time
LEAD = 8  # pieces by which a part may be ahead of the last one, so that a signal finds all of them near each other


class Workers:
    """Threads that update the parts of a population, each with one thread in its products.

    A core that other processes use slows its own part only, since no thread waits for another inside a product. What is
    computed depends neither on the number of threads nor on their pace.

    Args:
        num_threads: of these; one where the calling thread does the work, with its own threads in products.
    """

    def __init__(self, num_threads: int) -> None:
        self.num_threads = num_threads
        self.pool = ThreadPoolExecutor(num_threads, initializer=_prepare) if num_threads > 1 else None

    def advance(
        self, parts: Sequence[Part], num_updates: int, step: Step, update: Update, is_over: Callable[[], bool]
    ) -> None:
        """Make `num_updates` updates of each part; where `is_over` before, as many as the first part has made by then.

        Args:
            parts: with equal numbers of updates.
            num_updates: at least 1.
            step, update: as for `Part.advance`.
            is_over: asked after each update.
        """
        if len(parts) == 1:
            parts[0].advance(num_updates, step, update, is_over)
            return
        race = Race(parts, num_updates, step, update, is_over)
        if self.pool is None:
            race.run()
            return
        for ended in [self.pool.submit(race.run) for _ in range(self.num_threads)]:
            ended.result()


class Race:
    """Parts on their way to a common number of updates; arguments as for `Workers.advance`."""

    def __init__(
        self, parts: Sequence[Part], num_updates: int, step: Step, update: Update, is_over: Callable[[], bool]
    ) -> None:
        self.parts, self.step, self.update, self.is_over = parts, step, update, is_over
        self.end = parts[0].num_updates + num_updates
        self.piece = 1  # updates, from the last one's pace
        self.taken: set[int] = set()  # numbers of the parts that threads have
        self.has_changed = Condition()
        self.has_failed = False

    def run(self) -> None:
        """Advance one part after the other until all have arrived."""
        while (number := self._take()) is not None:
            part = self.parts[number]
            try:
                self._advance(part)
            except BaseException:
                self.has_failed = True
                raise
            finally:
                with self.has_changed:
                    self.taken.remove(number)
                    self.has_changed.notify_all()

    def _advance(self, part: Part) -> None:
        if self.is_over():  # catches up with the first
            part.advance(self._goal() - part.num_updates, self.step, self.update)
            return
        before, start = part.num_updates, time.perf_counter()
        part.advance(min(self.piece, self.end - before), self.step, self.update, self.is_over)
        seconds = (time.perf_counter() - start) / (part.num_updates - before)
        self.piece = max(1, min(2 * self.piece, round(PIECE / max(seconds, 1e-9))))

    def _take(self) -> int | None:
        """The part that is furthest behind, of those that no thread has; None where all have arrived or one failed."""
        with self.has_changed:
            while not self.has_failed:
                first, last = self._goal(), min(part.num_updates for part in self.parts)
                most = first if self.is_over() else min(first, last + LEAD * self.piece)
                behind = [
                    (part.num_updates, number)
                    for number, part in enumerate(self.parts)
                    if number not in self.taken and part.num_updates < most
                ]
                if behind:
                    _, number = min(behind)
                    self.taken.add(number)
                    return number
                if not self.taken:
                    return None
                self.has_changed.wait()
        return None

    def _goal(self) -> int:
        """The number of updates that all parts shall reach."""
        return max(part.num_updates for part in self.parts) if self.is_over() else self.end


def _prepare() -> None:
    torch.set_flush_denormal(True)  # of this thread only
    torch.set_num_threads(1)
