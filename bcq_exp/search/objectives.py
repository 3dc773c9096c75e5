"""The objectives of a search, by the names that `hydra.sweeper.objectives` takes; all are maximised."""

from collections.abc import Callable, Sequence
from pathlib import Path

from bcq_exp.io.summary import read_summary

Objective = Callable[[Sequence[Path]], list[float]]
"""The values of runs that have finished, from their directories."""


def final_returns(run_dirs: Sequence[Path]) -> list[float]:
    """The mean return over the episodes of each run's last evaluation."""
    return [float(read_summary(run_dir)["final_return"]) for run_dir in run_dirs]


PRUNED_BY = "return"
OBJECTIVES: dict[str, Objective] = {PRUNED_BY: final_returns}
