"""A W&B run that is shown while it trains."""

import logging
import queue
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from typing import Any

from bcq_exp.io.files import read_json, write_json
from bcq_exp.io.loggers.form import LoggedRun, Logger
from bcq_exp.io.loggers.wandb_artifact import SENT, RunArtifact
from bcq_exp.io.loggers.wandb_file import (
    KEPT,
    STEP,
    Labels,
    exit_code,
    final_figures,
    read_rows,
    set_aside,
    shown_config,
    write_offline_run,
)
from bcq_exp.io.masking import masked_words

BEGINNING = 15.0  # seconds in which W&B's server must have answered that the run begins
FINISHING = 15.0  # seconds that W&B's own process may take to send the rest
ANSWERING = 2  # seconds in which it says whether an artifact that it has sent was taken

log = logging.getLogger(__name__)


class WandbLive(Logger):
    """A W&B run that is shown while it trains, by a thread of its own, so that training never waits for a network.

    A run that is resumed continues its W&B run: rows that the server has already are not sent again. Where the server
    has a row after the checkpoint that the run resumes from, it keeps the one that it has.

    Where the server does not answer when the run begins, or does not have all in time when it ends, the whole run is
    written to an offline file, as by `write_offline_run`, and a line says so.

    The run's artifact is part of what the server must have in time. Where the server refuses it alone, a line says so.

    Args:
        run: the run.
        labels: what W&B files it under.
        has_artifact: whether its artifact is uploaded when it has finished.
    """

    def __init__(self, run: LoggedRun, labels: Labels, *, has_artifact: bool = False) -> None:
        self._run, self._labels, self._has_artifact = run, labels, has_artifact
        self._kept: dict[str, Any] = {}  # what RUN/wandb.json gets
        self._rows: queue.SimpleQueue[tuple[int, Mapping[str, float]] | Mapping[str, Any]] = queue.SimpleQueue()
        self._reason, self._is_whole = "the server did not take all in time", False
        self._is_ending = threading.Event()
        sys.argv = masked_words(sys.argv)  # W&B writes the command line to the run's files
        self._thread = threading.Thread(target=self._work, name=f"wandb-{labels.run_id}", daemon=True)
        self._thread.start()

    def log(self, update: int, metrics: Mapping[str, float]) -> None:
        """Leave the row of `update` to the thread."""
        self._rows.put((update, metrics))

    def finish(self, summary: Mapping[str, Any] | None) -> None:
        """Leave the end of the run to the thread."""
        self._rows.put(summary or {})
        self._is_ending.set()

    def wait(self, deadline: float) -> None:
        """Wait until the server has all, or write the offline file."""
        self._thread.join(max(0.0, deadline - time.monotonic()))
        if self._kept:
            kept = self._run.run_dir / KEPT
            write_json(kept, {**read_json(kept), **self._kept})
        if self._is_whole:
            set_aside(self._run.run_dir, self._labels.run_id)
            return
        write_quietly(self._run, self._labels)
        say_once(f"W&B: {self._reason}; runs are in offline files, which `bcq-dashboard sync` uploads")

    def _work(self) -> None:
        """Begin the W&B run, log what comes, and end it, whatever W&B's client raises there."""
        try:
            begun = self._begin()
        except Exception as error:
            self._reason = f"the server cannot be reached ({reason(error)})"
            if not self._is_ending.is_set():
                say_once(f"W&B: {self._reason}; training goes on, and is logged offline")
            return
        try:
            self._log_and_end(begun)
        except Exception as error:
            self._reason = reason(error)

    def _begin(self) -> Any:
        wandb, labels = quiet_client(), self._labels
        return wandb.init(
            dir=self._run.run_dir,
            config=shown_config(self._run),
            entity=labels.entity,
            project=labels.project,
            group=labels.group,
            job_type=labels.job_type,
            name=labels.name,
            tags=labels.tags,
            id=labels.run_id,
            resume="allow",
            allow_val_change=True,
            mode="online",
            reinit="create_new",
            settings=wandb.Settings(
                silent=True,
                console="off",
                init_timeout=BEGINNING,
                finish_timeout=FINISHING,
                finish_timeout_raises=True,
            ),
        )

    def _log_and_end(self, begun: Any) -> None:
        if begun.url:
            self._kept["address"] = begun.url
        begun.define_metric(STEP)
        begun.define_metric("*", step_metric=STEP)
        while isinstance(item := self._rows.get(), tuple):
            update, metrics = item
            if update >= begun.starting_step:  # the first that the server lacks
                begun.log({STEP: update, **metrics}, step=update, commit=True)
        begun.summary.update(final_figures(self._run, read_rows(self._run.run_dir / "metrics.csv"), item))
        sending = self._begin_artifact(begun) if item and self._has_artifact else None
        begun.finish(exit_code=exit_code(item))
        self._is_whole = True
        if sending is not None:
            artifact, logged = sending
            with self._without_artifact():
                logged.wait(timeout=ANSWERING)
                self._kept[SENT] = artifact.account

    def _begin_artifact(self, begun: Any) -> tuple[RunArtifact, Any] | None:
        """Give the artifact, if W&B lacks it, to W&B's process, which sends it; W&B's object knows what comes of it."""
        with self._without_artifact():
            artifact = RunArtifact.due(self._run, self._labels.run_id)
            if artifact is not None:
                return artifact, begun.log_artifact(artifact.draft)
        return None

    @contextmanager
    def _without_artifact(self) -> Iterator[None]:
        """Keep from the run what goes wrong with its artifact, and say it."""
        try:
            yield
        except Exception as error:
            line = "W&B: no artifact of %s: %s; `bcq-dashboard sync %s` uploads it"
            log.warning(line, self._run.run_dir, reason(error), self._run.run_dir)


def quiet_client() -> Any:
    """W&B's client, which says nothing on the terminal from now on; what a user must know, the logger says."""
    import wandb
    from wandb.sdk import wandb_setup

    wandb_setup.singleton().settings.silent = True  # read here, so that no later reading makes it talk
    wandb.termsetup(wandb.Settings(silent=True), None)
    return wandb


def reason(error: Exception) -> str:
    """The end of an error of W&B's client, which says what lies behind it."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[-1].rpartition(": ")[2].rstrip(".")


def write_quietly(run: LoggedRun, labels: Labels) -> None:
    """Write a run's offline file; that it cannot be written is said in a line, since the run itself is whole."""
    try:
        write_offline_run(run, labels)
    except (OSError, ValueError) as error:
        log.warning("W&B: no offline file of %s: %s; `bcq-dashboard sync %s` makes it", run.run_dir, error, run.run_dir)


@cache
def say_once(line: str) -> None:
    """Warn once in this process, however many runs it trains."""
    log.warning("%s", line)
