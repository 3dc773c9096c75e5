"""A run to be trained."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bcq_exp.engine.machine import should_compile
from bcq_exp.io.loggers.form import LoggedRun
from bcq_exp.training.config import RunConfig
from bcq_exp.training.directories import BEGIN_ANEW, Kept
from bcq_exp.training.identity import Identity
from bcq_exp.training.logged import logged_run

SWEEP_REMEDY = "resume=false puts the sweep aside and begins anew"


@dataclass(frozen=True)
class Job:
    """A run to be trained.

    Args:
        cfg: its checked configuration.
        run_dir: its directory.
        resolved: its whole configuration as plain values.
        overrides: the words that were typed for it.
        sweep: name of its sweep; None for a run of its own.
        hydra: Hydra's own part of the configuration; None where the directory has it.
    """

    cfg: RunConfig
    run_dir: Path
    resolved: Mapping[str, Any]
    overrides: tuple[str, ...]
    sweep: str | None = None
    hydra: Mapping[str, Any] | None = None

    @property
    def kept(self) -> Kept:
        """The configuration as its directory keeps it."""
        return Kept(self.resolved, self.overrides, self.hydra)

    @property
    def logged(self) -> LoggedRun:
        """The run, as its logger is told of it; once its directory has its manifest."""
        return logged_run(self.run_dir, self.resolved, self.overrides, self.sweep)

    def identity(self, dataset_sha256: str) -> Identity:
        """The run's identity on data of this digest."""
        schedule = self.cfg.schedule
        is_compiled = should_compile(schedule.compile, schedule.num_updates)
        return Identity.of(self.resolved, is_compiled=is_compiled, dataset_sha256=dataset_sha256)

    @property
    def remedy(self) -> str:
        """How to begin anew where the directory holds another run."""
        if self.sweep is None:
            return BEGIN_ANEW
        return SWEEP_REMEDY
