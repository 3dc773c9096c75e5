"""The weighted doubly robust estimator (arXiv:1604.00923)."""

from dataclasses import dataclass
from functools import partial

import numpy as np

from bcq_exp.fields import within
from bcq_exp.ope.candidate import Candidate
from bcq_exp.ope.estimators.base import Statistic, WeightingEstimator, unknown
from bcq_exp.ope.importance import weighted_doubly_robust


@dataclass(kw_only=True)
class DoublyRobust(WeightingEstimator):
    """Fitted values of the first states, corrected by the weighted errors of the values (`weighted_doubly_robust`)."""

    is_discounted = True

    target_update_freq: int = within(1)

    def statistic(self, candidate: Candidate) -> Statistic:
        """NaN where the loss of the values did not stay finite, or the policy can make none of the episodes."""
        value, recording = candidate.fitted_values(self.target_update_freq), candidate.recording
        if value is None:
            return unknown
        data, rows = recording.data, recording.rows
        value_next_N = np.where(data.terminated, 0.0, value.of_next_states(data.obs_next))
        columns = recording.rew_R, candidate.log_ratio_R, recording.whole, recording.settings.gamma
        weighted = partial(
            weighted_doubly_robust,
            *columns,
            q_N=value.of_actions(data.obs, recording.buffer.act)[rows],
            value_N=value.of_states(data.obs, candidate.pi_NA)[rows],
            value_next_N=value_next_N[rows],
        )
        return self.of_whole(candidate, weighted)
