"""What ends trials early, by the names that `hydra.sweeper.pruning` takes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from bcq_exp.sweeps.sweep import Pruning

FACTOR = 2  # of the evaluations from one comparison to the next, and of the trials at it to those that go on


def is_rung(number: int) -> bool:
    """Whether trials are compared at an evaluation, counted from 1: at 1, 2, 4, 8 and so on."""
    return number & (number - 1) == 0


@dataclass(frozen=True)
class Halving:
    """Successive halving, arXiv:1502.07943: the worse half of the trials ends at evaluations 1, 2, 4, 8 and so on.

    A trial is compared with those of its group and with all of earlier batches, at the same evaluation. So a choice is
    made anew, and alike, where the search was killed after it. A trial whose seeds are split over groups trains to the
    end.

    Args:
        num_seeds: runs of a trial.
        earlier: the mean returns of each trial of earlier batches, by evaluation.
    """

    num_seeds: int
    earlier: Sequence[Mapping[int, float]]

    def among(self, run_dirs: Sequence[Path]) -> Pruning:
        """The choice among the runs of a batch, of which each `num_seeds` are a trial."""
        trials = {run_dir: index // self.num_seeds for index, run_dir in enumerate(run_dirs)}
        return lambda group: partial(self.worse, [trials[run_dir] for run_dir in group])

    def worse(self, trials: Sequence[int], number: int, returns: Sequence[float | None]) -> list[int]:
        """The members of a group whose trials end; those of a trial that has lost a run to divergence are among them.

        Args:
            trials: of the members.
            number: of the evaluation, from 1.
            returns: of the members; None for those that have ended.
        """
        if not is_rung(number):
            return []
        members = {trial: [index for index, other in enumerate(trials) if other == trial] for trial in trials}
        whole = {trial: places for trial, places in members.items() if len(places) == self.num_seeds}
        values = {
            trial: float(np.mean([value for place in places if (value := returns[place]) is not None]))
            for trial, places in whole.items()
            if all(returns[place] is not None for place in places)
        }
        pool = sorted([*values.values(), *(known[number] for known in self.earlier if number in known)], reverse=True)
        least = pool[max(1, len(pool) // FACTOR) - 1] if pool else 0.0
        going_on = {trial for trial, value in values.items() if value >= least}
        ended = [place for trial, places in whole.items() if trial not in going_on for place in places]
        return [place for place in ended if returns[place] is not None]


PRUNINGS: dict[str, type[Halving] | None] = {"none": None, "successive_halving": Halving}
