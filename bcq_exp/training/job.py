"""A run to be made."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bcq_exp.engine.machine import should_compile
from bcq_exp.training.config import RunConfig
from bcq_exp.training.directories import Kept
from bcq_exp.training.identity import Identity

SWEEP_REMEDY = "resume=false puts the sweep aside and begins anew"


@dataclass(frozen=True)
class Job:
    """A run to be made.

    Args:
        cfg: its checked configuration.
        run_dir: where it leaves what it makes.
        resolved: its whole configuration as plain values.
        overrides: what was typed for it.
        sweep: name of the sweep that it belongs to; None for a run of its own.
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
        """How its directory keeps its configuration."""
        return Kept(self.resolved, self.overrides, self.hydra)

    def identity(self, dataset_sha256: str) -> Identity:
        """What the run is, on data of this digest."""
        schedule = self.cfg.schedule
        is_compiled = should_compile(schedule.compile, schedule.num_updates)
        return Identity.of(self.resolved, is_compiled=is_compiled, dataset_sha256=dataset_sha256)

    @property
    def remedy(self) -> str:
        """How to begin anew where the directory holds something else."""
        if self.sweep is None:
            return "choose another directory to begin anew: hydra.run.dir=DIR"
        return SWEEP_REMEDY
