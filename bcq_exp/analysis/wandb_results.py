"""Results of runs in Weights & Biases, in the form of those that are read from run directories."""

import logging
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from bcq_exp.analysis.results import Result
from bcq_exp.io.summary import KEYS, Damaged, checked_summary
from bcq_exp.io.wandb_runs import WandbRun, read_runs

MAY_LACK = [key for key, kind in KEYS.items() if isinstance(None, kind)]  # a figure that is None is not in W&B

log = logging.getLogger(__name__)


def read_wandb_results(entity: str, project: str, groups: Collection[str]) -> list[Result]:
    """Read the runs of some groups that have ended; others, and those of other code, are left out with a warning each.

    The directory of a result is `ENTITY/PROJECT/ID`, its path in W&B.

    Raises:
        ValueError: W&B cannot be read (`read_runs`), or none of the runs is of this code and has ended.
    """
    runs = read_runs(entity, project, groups)
    results = results_of(runs)
    if not results:
        where = f"{entity}/{project} group={','.join(groups)}"
        raise ValueError(f"W&B: none of the {len(runs)} runs of {where} has ended with the figures that a report needs")
    return results


def folder_of(entity: str, project: str, groups: Sequence[str]) -> Path:
    """Where files about groups in W&B are written."""
    return Path("outputs/wandb", "-".join([entity, project, *groups]))


def results_of(runs: Sequence[WandbRun]) -> list[Result]:
    """The results of those runs that have ended, have the keys of a run of this code, and are there whole."""
    results = []
    for run in runs:
        source = f"the summary of {run.path} ({run.name}, {run.state})"
        try:
            result = Result(Path(run.path), checked_summary(_summary(run.summary), source), run.evaluations)
            if result.is_finished and [value for _, value in run.evaluations][-1:] != [result.summary["final_return"]]:
                raise Damaged(f"{source} and its last evaluation differ, so it has not been uploaded whole")
        except Damaged as damage:
            log.warning("%s; the run is left out", damage)
        else:
            results.append(result)
    return results


def _summary(figures: dict[str, Any]) -> dict[str, Any]:
    """The entries of a run's `summary.json`; those of speed are `perf/NAME` in W&B."""
    return dict.fromkeys(MAY_LACK) | {key.removeprefix("perf/"): value for key, value in figures.items()}
