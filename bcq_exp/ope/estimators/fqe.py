"""Fitted Q evaluation (arXiv:1903.08738)."""

from dataclasses import dataclass
from functools import partial

from bcq_exp.fields import within
from bcq_exp.ope.action_table import tabulate
from bcq_exp.ope.candidate import Candidate
from bcq_exp.ope.estimators.base import Estimator, Statistic, unknown
from bcq_exp.ope.importance import mean_over_episodes


@dataclass(kw_only=True)
class FittedQEvaluation(Estimator):
    """mean V(s_0) over the first states of the episodes, by fitted values (`fitted_q.py`)."""

    is_discounted = True

    target_update_freq: int = within(1)

    def statistic(self, candidate: Candidate) -> Statistic:
        """NaN where the loss of the values did not stay finite."""
        value = candidate.fitted_values(self.target_update_freq)
        if value is None:
            return unknown
        starts_E, data = candidate.recording.episodes.starts_E, candidate.recording.data
        obs, mask = data.obs[starts_E], None if data.mask is None else data.mask[starts_E]
        return partial(mean_over_episodes, value.of_states(obs, tabulate(candidate.policy, obs, mask)))
