"""Early ends of a command: one line, and an exit code that says whether to give the command again."""

import logging
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from bcq_exp.io.files import refusal
from bcq_exp.io.interruption import watching

STOPPED = 75  # EX_TEMPFAIL of sysexits.h: a signal came, the work is saved, the same command resumes it


def refuse_pickles(arguments: Sequence[str]) -> None:
    """End the process where Hydra is asked to load a pickled configuration, which can execute code."""
    if any(word.startswith("--experimental-rerun") for word in arguments):
        raise SystemExit("error: --experimental-rerun loads a pickle, which can execute code; give resume=DIR")


def first_line(error: BaseException) -> str:
    """The first line of an error's message; its type where it has none."""
    return next(iter(str(error).splitlines()), type(error).__name__)


@contextmanager
def in_one_line(go_on: str = "give the same command again") -> Iterator[None]:
    """End the process in one line where a signal (code `STOPPED`) or the disk (code 1) ends the block.

    Args:
        go_on: the instruction that is printed after a signal: how to resume.

    Raises:
        SystemExit: a signal came, or a file could not be written.
    """
    logging.raiseExceptions = False  # a log on a full disk has nowhere to complain to
    try:
        with watching():
            yield
    except KeyboardInterrupt as stop:
        print(f"{stop or 'stopped'}; to go on, {go_on}", file=sys.stderr)
        raise SystemExit(STOPPED) from None
    except OSError as error:
        if (line := refusal(error)) is None:
            raise
        raise SystemExit(f"error: {line}") from None


@contextmanager
def mistakes_in_one_line(*others: type[Exception]) -> Iterator[None]:
    """End the process in one line, and code 1, where the block finds that what is asked for cannot be.

    Args:
        others: errors that say so, besides ValueError and OSError.

    Raises:
        SystemExit: there was such an error.
    """
    mistakes: tuple[type[Exception], ...] = (ValueError, OSError, *others)
    try:
        yield
    except mistakes as error:
        line = refusal(error) if isinstance(error, OSError) else None
        raise SystemExit(f"error: {line or error}") from None
