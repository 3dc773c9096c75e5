"""A study on disk: asked for batches of trials, told what their runs came to, and continued after a kill."""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from filelock import FileLock, Timeout
from optuna.trial import TrialState
from sqlalchemy.exc import SQLAlchemyError

from bcq_exp.analysis.results import read_evaluations
from bcq_exp.io.differences import difference, differing, refusal
from bcq_exp.io.summary import read_summary
from bcq_exp.search.objectives import OBJECTIVES
from bcq_exp.search.pruning import PRUNINGS, Halving, is_rung
from bcq_exp.search.samplers import SAMPLERS
from bcq_exp.search.settings import JOURNAL, Settings
from bcq_exp.training.job import SWEEP_REMEDY

LOCK = "study.lock"

Train = Callable[[list[list[str]], int, Halving | None], Sequence[Path]]
"""Trains the jobs of these overrides, the first of which has this number, with this pruning; returns their
directories."""


def kept(settings: Settings, sweep_dir: Path) -> Any:
    """Optuna's study on disk, made where there is none; raises ValueError where its file is damaged."""
    try:
        return optuna.create_study(
            storage=settings.place(sweep_dir),
            study_name=sweep_dir.name,
            directions=["maximize" for _ in settings.objectives],
            load_if_exists=True,
        )
    except (ValueError, LookupError, SQLAlchemyError, optuna.exceptions.OptunaError) as error:
        place = settings.storage or sweep_dir / JOURNAL
        line = str(error).splitlines()[0]
        raise ValueError(f"{place} holds no study of Optuna's, or was damaged ({line}); {SWEEP_REMEDY}") from None


@dataclass(frozen=True)
class Study:
    """A study of Optuna's with the keys of its search.

    Args:
        optuna: Optuna's own.
        settings: of the search.
    """

    optuna: Any
    settings: Settings

    @classmethod
    @contextmanager
    def opened(cls, settings: Settings, sweep_dir: Path) -> Iterator["Study"]:
        """The study of a sweep's directory, new or as it was left; no other process can open it meanwhile.

        Raises:
            ValueError: it is another search than the one that is asked for, it is damaged, or another process has it.
        """
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        lock = FileLock(sweep_dir / LOCK)
        try:
            with lock.acquire(timeout=0):
                study = cls(kept(settings, sweep_dir), settings)
                study.check(sweep_dir)
                yield study
        except Timeout:
            raise ValueError(f"another process searches in {sweep_dir}; wait for its end") from None

    def check(self, sweep_dir: Path) -> None:
        """Compare the search with the one that the study began as; a new study keeps it."""
        before, now = self.optuna.user_attrs.get("search"), self.settings.fixed
        if before is None:
            self.optuna.set_user_attr("search", now)
        elif keys := differing(before, now):
            raise refusal({sweep_dir: [difference(key, before, now) for key in keys]}, SWEEP_REMEDY)

    @property
    def batches(self) -> list[int]:
        """The numbers of trials in the batches that have begun."""
        return list(self.optuna.user_attrs.get("batches", []))

    def run(self, train: Train, fixed: Sequence[str]) -> None:
        """Ask, train and tell until the study has its trials.

        Where it goes on, its first batch is handed to `train` as well: its runs have ended, and their configuration,
        code and data are compared with those of now.

        Args:
            train: trains jobs; runs that have ended are not trained again.
            fixed: overrides of all trials.
        """
        first = self.batches[:1]
        if first and self.num_told >= first[0]:
            train(self.words(0, first[0], fixed), 0, None)
        while True:
            batches = self.batches
            start, end = sum(batches[:-1]), sum(batches)
            if self.num_told == end:
                size = min(self.settings.batch_size, self.settings.most_trials - end)
                if size <= 0:
                    return
                self.optuna.set_user_attr("batches", [*batches, size])
                start, end = end, end + size
            self.ask(end)
            num_seeds = len(self.settings.each_seed)
            run_dirs = train(self.words(start, end, fixed), start * num_seeds, self.pruning(start))
            self.tell(start, [run_dirs[n : n + num_seeds] for n in range(0, len(run_dirs), num_seeds)])

    def pruning(self, start: int) -> Halving | None:
        """What ends trials of the batch that begins with trial `start`; None where all train to the end."""
        kind = PRUNINGS[self.settings.pruning]
        earlier = [trial.intermediate_values for trial in self.trials[:start]]
        return None if kind is None else kind(len(self.settings.each_seed), earlier)

    @property
    def trials(self) -> list[Any]:
        """All trials, by number."""
        return list(self.optuna.get_trials(deepcopy=False))

    @property
    def num_told(self) -> int:
        """The number of trials that have ended; they are the first ones."""
        return sum(trial.state.is_finished() for trial in self.trials)

    def ask(self, num_trials: int) -> None:
        """Ask for trials until there are `num_trials`; one that was left half asked is asked to its end."""
        space, kind = self.settings.space, SAMPLERS[self.settings.sampler]
        for number in range(num_trials):
            known = self.trials[number] if number < len(self.trials) else None
            if known is None or known.params.keys() != space.keys():
                self.optuna.sampler = kind.make(self.seed_of(number), space, number)
                trial = self.optuna.ask() if known is None else optuna.Trial(self.optuna, known._trial_id)
                for key, distribution in space.items():
                    suggest(trial, key, distribution)
        self.optuna.sampler = optuna.samplers.RandomSampler()

    def seed_of(self, number: int) -> int:
        """The seed of a trial's sampler."""
        seed: int = np.random.SeedSequence([self.settings.seed, number]).generate_state(1).tolist()[0]
        return seed

    def words(self, start: int, end: int, fixed: Sequence[str]) -> list[list[str]]:
        """The overrides of the runs of trials, trial by trial; `start` is the first one, `end` the one after the last.

        A float is written with all of its digits, a choice as it was typed.
        """
        return [
            [*fixed, *(f"{key}={trial.params[key]}" for key in self.settings.space), f"seed={seed}"]
            for trial in self.trials[start:end]
            for seed in self.settings.each_seed
        ]

    def tell(self, start: int, run_dirs: Sequence[Sequence[Path]]) -> None:
        """Tell the values of a batch's trials: the means over seeds. A trial with a run that diverged has failed.

        The value of a trial that was pruned is that of its last evaluation.

        Args:
            start: the batch's first trial.
            run_dirs: of each trial, by seed.
        """
        statuses = [{read_summary(run)["status"] for run in runs} for runs in run_dirs]
        finished = [
            run for runs, found in zip(run_dirs, statuses, strict=True) if found == {"finished"} for run in runs
        ]
        measured = {
            name: dict(zip(finished, OBJECTIVES[name].measure(finished, self.settings.request), strict=True))
            for name in self.settings.objectives
        }
        for known, runs, status in zip(self.trials[start:], run_dirs, statuses, strict=False):
            if known.state != TrialState.RUNNING:
                continue
            trial = optuna.Trial(self.optuna, known._trial_id)
            trial.set_user_attr("runs", [run.name for run in runs])
            if PRUNINGS[self.settings.pruning] is not None and "failed" not in status:
                for number, value in compared(runs).items():
                    trial.report(value, number)
            if status == {"pruned"}:
                self.optuna.tell(trial, state=TrialState.PRUNED)
                continue
            each = (
                {name: [found[run] for run in runs] for name, found in measured.items()}
                if status == {"finished"}
                else {}
            )
            means = [float(np.mean(values)) for values in each.values()]
            if not each or any(map(math.isnan, means)):
                self.optuna.tell(trial, state=TrialState.FAIL)
                continue
            trial.set_user_attr("by_seed", each)
            self.optuna.tell(trial, means)


def compared(run_dirs: Sequence[Path]) -> dict[int, float]:
    """The mean over runs of each evaluation that trials are compared at, by its number."""
    evaluations = [[value for _, value in read_evaluations(run_dir / "metrics.csv")] for run_dir in run_dirs]
    means = [float(np.mean(values)) for values in zip(*evaluations, strict=True)]
    return {number: value for number, value in enumerate(means, start=1) if is_rung(number)}


def suggest(trial: Any, key: str, distribution: Any) -> None:
    """Draw a parameter of a trial, unless it has it."""
    match distribution:
        case optuna.distributions.CategoricalDistribution():
            trial.suggest_categorical(key, distribution.choices)
        case optuna.distributions.IntDistribution(low=low, high=high, step=step, log=log):
            trial.suggest_int(key, low, high, step=step, log=log)
        case optuna.distributions.FloatDistribution(low=low, high=high, step=step, log=log):
            trial.suggest_float(key, low, high, step=step, log=log)
