"""Weighted importance sampling by step (per decision)."""

from dataclasses import dataclass
from functools import partial

import numpy as np

from bcq_exp.ope.candidate import Candidate
from bcq_exp.ope.estimators.base import Statistic, WeightingEstimator
from bcq_exp.ope.importance import weighted_doubly_robust


@dataclass(kw_only=True)
class PerDecisionWeightedImportanceSampling(WeightingEstimator):
    """Recorded rewards, each weighted by the importance of its episode so far.

    This is `weighted_doubly_robust` with a model whose values are all 0.
    """

    def statistic(self, candidate: Candidate) -> Statistic:
        """NaN where the policy can make none of the episodes."""
        recording, zero_R = candidate.recording, np.zeros_like(candidate.log_ratio_R)
        columns = recording.rew_R, candidate.log_ratio_R, recording.whole, recording.settings.gamma
        return self.of_whole(
            candidate, partial(weighted_doubly_robust, *columns, q_N=zero_R, value_N=zero_R, value_next_N=zero_R)
        )
