"""Signals that ask a process to end, which saves its work first."""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FrameType
from typing import Any

# From the keyboard, from `kill`, from a terminal that closes, and from SLURM before a job's time is over (USR1 by
# sbatch's option, USR2 from submitit).
SIGNALS = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2") if hasattr(signal, name)
)


class Interrupted(KeyboardInterrupt):
    """A signal has ended the work, which is saved and can be resumed.

    Args:
        signum: the signal's number.
    """

    def __init__(self, signum: int) -> None:
        self.signum = signum
        super().__init__(f"stopped by {signal.Signals(signum).name}")


@dataclass
class Watch:
    """The signal that came while `watching`, and the handlers that it replaced.

    Args:
        signum: the signal that came; None where none did.
        handlers: the replaced handlers, by signal.
    """

    signum: int | None = None
    handlers: dict[int, Any] = field(default_factory=dict)

    def is_over(self) -> bool:
        """Whether a signal has asked for the end."""
        return self.signum is not None


@contextmanager
def watching(is_saved: Callable[[], bool] = lambda: True) -> Iterator[Watch]:
    """Handle the first of `SIGNALS`; a second one ends the process at once, as without a handler.

    Ignored signals stay ignored, as under `nohup`. Only the main thread gets signals, so in others nothing is watched.

    Args:
        is_saved: whether nothing would be lost, asked when the signal comes. If so the block is left at once, wherever
            it is; if not, the block must ask `Watch.is_over`, save and end.

    Raises:
        Interrupted: a signal came; raised within the block or at its end.
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
        handlers = {signum: signal.getsignal(signum) for signum in SIGNALS}
        watch.handlers = {signum: old for signum, old in handlers.items() if old not in (signal.SIG_IGN, None)}
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
    """Block a terminal's Ctrl-C for processes that are started in the block; their parent passes it on."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
