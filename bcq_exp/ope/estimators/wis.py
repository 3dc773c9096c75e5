"""Weighted importance sampling by whole episodes."""

from dataclasses import dataclass

from bcq_exp.ope.candidate import Candidate
from bcq_exp.ope.estimators.base import WeightingEstimator
from bcq_exp.ope.importance import weighted_importance_sampling


@dataclass(kw_only=True)
class WeightedImportanceSampling(WeightingEstimator):
    """Recorded returns, weighted by importance (`weighted_importance_sampling`)."""

    def estimate(self, candidate: Candidate) -> float:
        """NaN where the policy can make none of the episodes."""
        recording = candidate.recording
        gamma = recording.settings.gamma
        return weighted_importance_sampling(recording.rew_R, candidate.log_ratio_R, recording.whole, gamma)
