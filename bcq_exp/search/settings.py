"""The keys of `hydra.sweeper` for a search, checked."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna

from bcq_exp.search.objectives import OBJECTIVES
from bcq_exp.search.pruning import PRUNINGS
from bcq_exp.search.samplers import SAMPLERS, Space, points
from bcq_exp.selection.request import Request
from bcq_exp.training.config import RunConfig

JOURNAL = "study.journal"

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Settings:
    """The keys of a search, and its space.

    Args:
        num_trials: of the whole study; a larger number extends it.
        batch_size: trials that are asked for at once and trained together.
        num_seeds: runs of a trial, with seeds from 0 on; None where `seeds` are given.
        seeds: of the runs of a trial; None where `num_seeds` is given. Without both, one run with seed 0.
        sampler: one of `SAMPLERS`.
        seed: of the sampler.
        objectives: of `OBJECTIVES`, each to be maximised; several give a Pareto front.
        storage: a file that ends in .db or a sqlite:/// address; None for `study.journal` in the sweep's directory.
        pruning: one of `PRUNINGS`.
        request: how the objective `ope` is estimated.
        space: Optuna's distributions, by key.

    Raises:
        ValueError: a key has a value that is not allowed, or keys contradict each other.
    """

    num_trials: int
    batch_size: int
    num_seeds: int | None
    seeds: Sequence[int] | None
    sampler: str
    seed: int
    objectives: Sequence[str]
    storage: str | None
    pruning: str
    request: Request
    space: Space

    def __post_init__(self) -> None:
        for key in ("num_trials", "batch_size", "num_seeds"):
            if (number := getattr(self, key)) is not None and number < 1:
                raise ValueError(f"hydra.sweeper.{key}={number} is below 1")
        if self.seed < 0:
            raise ValueError(f"hydra.sweeper.seed={self.seed} is below 0")
        if self.num_seeds is not None and self.seeds is not None:
            raise ValueError("hydra.sweeper.num_seeds and hydra.sweeper.seeds say the same: give one of them")
        if not self.each_seed or min(self.each_seed) < 0 or len({*self.each_seed}) < len(self.each_seed):
            raise ValueError(f"hydra.sweeper.seeds={list(self.each_seed)}: give different integers from 0 on")
        self._check_names("sampler", [self.sampler], SAMPLERS)
        self._check_names("objectives", self.objectives, OBJECTIVES)
        if not self.objectives or len({*self.objectives}) < len(self.objectives):
            raise ValueError(f"hydra.sweeper.objectives={list(self.objectives)}: give one or more, each once")
        if self.is_estimated and len(self.request.estimators) != 1:
            raise ValueError("hydra.sweeper.evaluate: give one estimator, such as {ope: fqe}")
        self._check_names("pruning", [self.pruning], PRUNINGS)
        seen = [name for name, objective in OBJECTIVES.items() if objective.is_seen_in_training]
        if PRUNINGS[self.pruning] is not None and (len(self.objectives) > 1 or self.objectives[0] not in seen):
            raise ValueError(
                f"hydra.sweeper.pruning={self.pruning} compares trials in training by one objective: give"
                f" hydra.sweeper.objectives=[{' or '.join(seen)}]"
            )
        if not self.space:
            raise ValueError(
                "nothing is searched: give a key as interval(a,b), choice(a,b) or range(a,b), on the command line or in"
                " hydra.sweeper.params, or a space of conf/search/, such as search=discrete_bcq"
            )
        if reason := SAMPLERS[self.sampler].refusal(self.space, len(self.objectives)):
            raise ValueError(f"hydra.sweeper.sampler={self.sampler}: {reason}")
        if self.storage is not None and not self.storage.endswith(".db") and not self.storage.startswith("sqlite:///"):
            raise ValueError(
                f"hydra.sweeper.storage={self.storage}: give a file that ends in .db, or null for {JOURNAL} in the"
                " sweep's directory"
            )

    @staticmethod
    def _check_names(key: str, given: Sequence[str], known: Any) -> None:
        if unknown := [name for name in given if name not in known]:
            raise ValueError(f"hydra.sweeper.{key}={', '.join(unknown)} is none of {', '.join(known)}")

    def check_measured(self, cfg: RunConfig) -> None:
        """Raise ValueError where runs measure nothing that an objective is; say what stands in for returns.

        Args:
            cfg: of a run.
        """
        if cfg.dataset.env is not None or all(OBJECTIVES[name].is_estimated for name in self.objectives):
            return
        if cfg.estimate is None:
            raise ValueError(
                "hydra.sweeper.objectives: runs without environment have no returns; give [ope], or eval_ope=fqe, whose"
                " final estimate then stands for the return"
            )
        log.info("without environment, the objective return is the final estimate by %s", cfg.estimate.name)

    @property
    def is_estimated(self) -> bool:
        """Whether an objective is estimated from the dataset."""
        return any(OBJECTIVES[name].is_estimated for name in self.objectives)

    @property
    def each_seed(self) -> Sequence[int]:
        """The seeds of a trial's runs."""
        return range(self.num_seeds or 1) if self.seeds is None else self.seeds

    @property
    def most_trials(self) -> int:
        """Trials of the whole study; a grid may have fewer than are asked for."""
        is_finite = SAMPLERS[self.sampler].is_finite
        return min(self.num_trials, len(points(self.space))) if is_finite else self.num_trials

    def place(self, sweep_dir: Path) -> Any:
        """Optuna's storage."""
        if self.storage is None:
            path = str(sweep_dir / JOURNAL)
            return optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(path))
        is_address = self.storage.startswith("sqlite:///")
        return optuna.storages.RDBStorage(self.storage if is_address else f"sqlite:///{self.storage}")

    @property
    def fixed(self) -> dict[str, str]:
        """All that a study is asked and told by, as text; a study goes on with the same only."""
        estimated = {**vars(self.request.settings), **vars(self.request.network), **vars(self.request.optimizer)}
        for estimator in self.request.estimators.values():
            estimated |= vars(estimator)
        return {
            **{key: str(distribution) for key, distribution in self.space.items()},
            "hydra.sweeper.sampler": self.sampler,
            "hydra.sweeper.seed": str(self.seed),
            "hydra.sweeper.objectives": ",".join(self.objectives),
            "hydra.sweeper.seeds": ",".join(map(str, self.each_seed)),
            "hydra.sweeper.pruning": self.pruning,
            "hydra.sweeper.batch_size": str(self.batch_size),
            **{f"evaluate.{key}": str(value) for key, value in estimated.items() if self.is_estimated},
        }
