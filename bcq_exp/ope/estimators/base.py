"""The base of estimators: their own keys, the policies they are for, the estimate and what limits its worth.

Shape suffixes: E episodes, R rows of counts.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from bcq_exp.ope.candidate import Candidate

Array = NDArray[np.float64]
Statistic = Callable[[Array], Array]
"""Maps how often each episode of the recording counts, (R, E), to estimates, (R,)."""


@dataclass(kw_only=True)
class Estimator(ABC):
    """An estimator of a policy's return. Its fields are the keys of `conf/evaluate.yaml` that are its own.

    `is_discrete`: it needs the probabilities of recorded actions, so it is for discrete actions only.
    `is_discounted`: it needs `gamma` below 1.
    `diagnostic_names`: of what `diagnostics` gives.
    """

    is_discrete: ClassVar[bool] = False
    is_discounted: ClassVar[bool] = False
    diagnostic_names: ClassVar[tuple[str, ...]] = ()

    @abstractmethod
    def statistic(self, candidate: Candidate) -> Statistic:
        """Make the estimate of the discounted return from the recording's first states, as a function of how often each
        episode counts; its values are NaN where an estimate is impossible."""

    def estimate(self, candidate: Candidate) -> float:
        """Estimate the return from the episodes as recorded: each counts once."""
        return float(self.statistic(candidate)(np.ones((1, len(candidate.recording.episodes.lengths_E))))[0])

    def diagnostics(self, candidate: Candidate) -> dict[str, float]:
        """Numbers, by name, that say how far to trust the estimate."""
        return {}

    def objection(self, diagnostics: Mapping[str, float], min_ess: float) -> str | None:
        """Say why an estimate with these diagnostics is worthless; None where it is not.

        Args:
            diagnostics: as `diagnostics` returns them.
            min_ess: the smallest effective sample size, in episodes, that an estimate is worth something with.
        """
        return None


def unknown(counts_RE: Array) -> Array:
    """The statistic of a policy that cannot be estimated: NaN."""
    return np.full(len(counts_RE), np.nan)


@dataclass(kw_only=True)
class WeightingEstimator(Estimator):
    """An estimator that weights episodes by importance (see `importance.py`)."""

    is_discrete = True
    diagnostic_names = ("ess",)

    def diagnostics(self, candidate: Candidate) -> dict[str, float]:
        """`ess`, the effective sample size in episodes."""
        return {"ess": candidate.effective_sample_size}

    def objection(self, diagnostics: Mapping[str, float], min_ess: float) -> str | None:
        """Name an effective sample size below the limit."""
        size = diagnostics["ess"]
        return (
            None if size >= min_ess else f"its effective sample size is {size:.3g} episodes, below min_ess={min_ess:g}"
        )

    def of_whole(self, candidate: Candidate, statistic: Statistic) -> Statistic:
        """The same of all episodes: the last one does not count where it may have been cut (`Recording`)."""
        num_whole = len(candidate.recording.whole.lengths_E)
        return lambda counts_RE: statistic(counts_RE[:, :num_whole])
