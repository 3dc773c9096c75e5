"""Weighted importance sampling by whole episodes."""

from dataclasses import dataclass
from functools import partial

from bcq_exp.ope.candidate import Candidate
from bcq_exp.ope.estimators.base import Statistic, WeightingEstimator
from bcq_exp.ope.importance import weighted_importance_sampling


@dataclass(kw_only=True)
class WeightedImportanceSampling(WeightingEstimator):
    """Recorded returns, weighted by importance (`weighted_importance_sampling`)."""

    def statistic(self, candidate: Candidate) -> Statistic:
        """NaN where the policy can make none of the episodes."""
        recording = candidate.recording
        columns = recording.rew_R, candidate.log_ratio_R, recording.whole, recording.settings.gamma
        return self.of_whole(candidate, partial(weighted_importance_sampling, *columns))
