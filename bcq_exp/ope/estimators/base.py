"""The base of estimators: their own keys, the policies they are for, the estimate and its diagnostics."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

from bcq_exp.ope.candidate import Candidate


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
    def estimate(self, candidate: Candidate) -> float:
        """Estimate the discounted return from the recording's first states; NaN where that is impossible."""

    def diagnostics(self, candidate: Candidate) -> dict[str, float]:
        """Numbers, by name, that say how far to trust the estimate."""
        return {}


@dataclass(kw_only=True)
class WeightingEstimator(Estimator):
    """An estimator that weights episodes by importance (see `importance.py`)."""

    is_discrete = True
    diagnostic_names = ("ess",)

    def diagnostics(self, candidate: Candidate) -> dict[str, float]:
        """`ess`, the effective sample size in episodes."""
        return {"ess": candidate.effective_sample_size}
