"""Signals that ask a process to end: what can be saved is saved first."""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FrameType
from typing import Any

# Of a keyboard, of whoever ends processes, of a terminal that closes, of SLURM before a job's time is over (USR1 where
# sbatch is told so, USR2 from submitit).
SIGNALS = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2") if hasattr(signal, name)
)


class Interrupted(KeyboardInterrupt):
    """A signal has ended the work; all of it that can be taken up again is saved.

    Args:
        signum: the signal's number.
    """

    def __init__(self, signum: int) -> None:
        self.signum = signum
        super().__init__(f"stopped by {signal.Signals(signum).name}")


@dataclass
class Watch:
    """What has come since it is entered, and what would have answered it before.

    Args:
        signum: the signal that has come; None: none.
        handlers: Python's handlers before, by signal.
    """

    signum: int | None = None
    handlers: dict[int, Any] = field(default_factory=dict)

    def is_over(self) -> bool:
        """Whether a signal has asked for the end."""
        return self.signum is not None


@contextmanager
def watching(is_saved: Callable[[], bool] = lambda: True) -> Iterator[Watch]:
    """Answer the first of `SIGNALS`; a second one ends the process at once, as if nobody watched.

    Signals that are ignored stay so, as `nohup` has it. Threads but the main one get no signals, and watch for none.

    Args:
        is_saved: asked when the signal comes: whether nothing would be lost. If so the block is left at once, wherever
            it is; if not it must look at the watch, save, and end.

    Raises:
        Interrupted: a signal has come, from within the block or when it ends.
    """
    watch = Watch()

    def answer(signum: int, frame: FrameType | None) -> None:
        if watch.signum is not None:  # not by SIG_DFL beforehand: Python complains where both come at once
            signal.signal(signum, signal.SIG_DFL)
            os.kill(os.getpid(), signum)
        watch.signum = signum
        if is_saved():
            raise Interrupted(signum)

    if threading.current_thread() is threading.main_thread():
        found = {signum: signal.getsignal(signum) for signum in SIGNALS}
        watch.handlers = {signum: old for signum, old in found.items() if old not in (signal.SIG_IGN, None)}
    for signum in watch.handlers:
        signal.signal(signum, answer)
    try:
        yield watch
        if watch.signum is not None:
            raise Interrupted(watch.signum)
    finally:
        for signum, old in watch.handlers.items():
            signal.signal(signum, old)


@contextmanager
def not_of_the_keyboard() -> Iterator[None]:
    """Keep a terminal's Ctrl-C from processes that are started in the block: whoever started them tells them."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
