"""The objectives of a search, by the names that `hydra.sweeper.objectives` takes; all are maximised."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from bcq_exp.analysis.trained_runs import trained_runs
from bcq_exp.io.summary import final_figure, read_summary
from bcq_exp.selection.estimation import by_dataset, estimate
from bcq_exp.selection.request import Request


@dataclass(frozen=True)
class Objective:
    """What is maximised.

    Args:
        measure: the values of runs that have finished, from their directories and the request of off-policy estimates.
        is_seen_in_training: whether evaluations in training measure it, so that trials can be pruned by it.
        is_estimated: whether the request is used.
    """

    measure: Callable[[Sequence[Path], Request], list[float]]
    is_seen_in_training: bool
    is_estimated: bool


def final_returns(run_dirs: Sequence[Path], request: Request) -> list[float]:
    """The mean return over the episodes of each run's last evaluation, undiscounted; without an environment, its
    estimate (`eval_ope`), and NaN where there is none.
    """
    found = [final_figure(read_summary(run_dir)) for run_dir in run_dirs]
    return [math.nan if figure is None else figure[1] for figure in found]


def estimated_returns(run_dirs: Sequence[Path], request: Request) -> list[float]:
    """The discounted return of each run's policy, estimated from its dataset by the one estimator of the request.

    NaN stands where there is no estimate.
    """
    runs = [run for run_dir in run_dirs for run in trained_runs(run_dir, request.settings.device)]
    (name,) = request.estimators
    found: dict[Path, float] = {}
    for group in by_dataset(runs):
        for run, numbers in zip(group, estimate(group, request), strict=True):
            found[run.directory] = numbers[name]
    return [found[run_dir] for run_dir in run_dirs]


OBJECTIVES = {
    "return": Objective(final_returns, is_seen_in_training=True, is_estimated=False),
    "ope": Objective(estimated_returns, is_seen_in_training=False, is_estimated=True),
}
