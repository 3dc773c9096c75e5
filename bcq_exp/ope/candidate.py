"""A policy under evaluation, as estimators see it.

Shape suffixes: N rows of the dataset, R rows of its whole episodes, A number of actions.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import cache, cached_property, partial

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from bcq_exp.ope.action_table import tabulate
from bcq_exp.ope.fitted_q import FittedQ
from bcq_exp.ope.importance import effective_sample_size, weights
from bcq_exp.ope.recording import Recording
from bcq_exp.policies import Policy

Array = NDArray[np.float64]


class Candidate:
    """A policy on a recording. Each quantity is computed at first use and kept.

    Args:
        recording: the dataset.
        policy: in evaluation mode.
        fitted_values: fits the policy's values, from `target_update_freq`; None where the loss did not stay finite.
    """

    def __init__(self, recording: Recording, policy: Policy, fitted_values: Callable[[int], FittedQ | None]) -> None:
        self.recording, self.policy, self.fitted_values = recording, policy, fitted_values

    @cached_property
    def pi_NA(self) -> Tensor:
        """pi(a|s) in each recorded state."""
        return tabulate(self.policy, self.recording.data.obs, self.recording.data.mask)

    @cached_property
    def log_ratio_R(self) -> Array:
        """log pi(a|s) / b(a|s) of the recorded actions; -inf where the policy never takes one."""
        log_pi_N = self.pi_NA.double().gather(-1, self.recording.buffer.act.unsqueeze(-1)).squeeze(-1).log()
        log_ratio_N: Array = log_pi_N.cpu().numpy() - self.recording.log_behaviour_N
        return log_ratio_N[self.recording.rows]

    @cached_property
    def effective_sample_size(self) -> float:
        """The effective sample size of the episodes' importance weights, in episodes."""
        return effective_sample_size(weights(self.log_ratio_R, self.recording.whole))


def candidates(recording: Recording, policies: Sequence[Policy]) -> Iterator[Candidate]:
    """Yield policies as candidates. The values of all are fitted as one population, when the first are asked for."""
    fitted_values = cache(partial(recording.fitted_values, policies))

    def candidate(number: int) -> Candidate:
        return Candidate(recording, policies[number], lambda freq: fitted_values(freq)[number])

    return map(candidate, range(len(policies)))
