"""How a command ends before its time: in one line, with an exit code that says whether to give it again."""

import logging
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from bcq_exp.io.files import refusal
from bcq_exp.io.interruption import watching

STOPPED = 75  # EX_TEMPFAIL of sysexits.h: a signal has come, what could be saved is saved, the same command goes on


def refuse_pickles(arguments: Sequence[str]) -> None:
    """End the process where Hydra is asked to load a pickled configuration, which can execute code."""
    if any(word.startswith("--experimental-rerun") for word in arguments):
        raise SystemExit("error: --experimental-rerun loads a pickle, which can execute code; give resume=DIR")


@contextmanager
def in_one_line(go_on: str = "give the same command again") -> Iterator[None]:
    """End the process in one line where a signal or the disk ends the block: with code `STOPPED`, or with 1.

    Args:
        go_on: how to go on after a signal.

    Raises:
        SystemExit: a signal has come, or a file could not be written.
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
