"""Commands in processes that begin with everything imported, so that many can be tried."""

import atexit
import io
import multiprocessing
import os
import signal
import sys
from collections.abc import Sequence
from importlib import import_module
from multiprocessing.context import ForkServerProcess
from pathlib import Path

MODULES = ("train", "collect", "evaluate", "export", "report", "dashboard")
_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload([*(f"bcq_exp.{module}" for module in MODULES), "matplotlib.backends.backend_agg"])


def _give(folder: str, output: str, words: Sequence[str], blocked: str | None) -> None:
    """Do in this process what `bcq WORDS` does there."""
    os.chdir(folder)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a test runner may ignore it
    os.environ["CUDA_VISIBLE_DEVICES"] = ""  # so that machines with a GPU answer as others do
    if blocked:
        sys.modules[blocked] = None  # type: ignore[assignment]  # as where it is not installed
    with open(output, "w", buffering=1) as file:
        for number in (1, 2):
            os.dup2(file.fileno(), number)
    sys.stdout, sys.stderr = (io.TextIOWrapper(os.fdopen(number, "wb", 0), write_through=True) for number in (1, 2))
    sys.argv = ["/somewhere/bin/bcq", *words]
    try:
        import_module("bcq_exp.__main__").main()
    finally:
        atexit._run_exitfuncs()  # which a process of multiprocessing does not


def begin(folder: Path, output: Path, words: Sequence[str], blocked: str | None = None) -> ForkServerProcess:
    """A command that has been given in a folder; what it says goes to a file.

    Args:
        folder: where it is given.
        output: the file.
        words: after `bcq`.
        blocked: a module that cannot be imported.
    """
    process = _CONTEXT.Process(target=_give, args=(str(folder), str(output), words, blocked))
    process.start()
    return process


def give(folder: Path, words: Sequence[str], blocked: str | None = None) -> tuple[int | None, str]:
    """The exit code of a command, and all that it said."""
    output = folder.with_name(f"{folder.name}.said")
    process = begin(folder, output, words, blocked)
    process.join(120)
    return process.exitcode, output.read_text()
