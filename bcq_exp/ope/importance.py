"""Importance weights: how much more likely the policy is to make a recorded episode than the behaviour policy was.

rho_t = prod_{k <= t} pi(a_k|s_k) / b(a_k|s_k), and w_t^i = rho_t^i / sum_j rho_t^j over the episodes i    (weighted)

An episode that has ended keeps its last rho, as if it stayed in a state without reward. Weighted estimates are
consistent, and biased in small datasets. With long episodes a few of them get nearly all the weight; the effective
sample size is the number of those.

Estimates are functions of how often each episode counts: once each in the estimate itself, as often as it was drawn in
a bootstrap over episodes. Where the episodes that were drawn are all beyond the policy, or smaller by 1e-308 than the
largest weight of all, the estimate is NaN.

Shape suffixes: N rows of the dataset, E episodes, R rows of counts.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax

BLOCK = 2**24  # counts that are in memory at once

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Episodes:
    """Positions of a dataset's episodes.

    Args:
        starts_E: first row of each, ascending.
        lengths_E: rows of each, 1 or more.
    """

    starts_E: NDArray[np.int64]
    lengths_E: NDArray[np.int64]

    @classmethod
    def of(cls, lengths_E: NDArray[np.int64]) -> "Episodes":
        """Make them from lengths: episodes follow one another without a gap."""
        return cls(np.cumsum(lengths_E) - lengths_E, lengths_E)

    def steps(self) -> Iterator[tuple[int, NDArray[np.bool_], NDArray[np.int64]]]:
        """Yield for each step t: t, whether each episode has a row at t, (E,), and the rows of those that do."""
        for t in range(int(self.lengths_E.max())):
            is_open_E = self.lengths_E > t
            yield t, is_open_E, self.starts_E[is_open_E] + t

    def draws(self, num: int, seed: int) -> Iterator[Array]:
        """Draw E episodes with replacement, `num` times; yield how often each was drawn, in blocks of rows (R, E)."""
        num_episodes, rng = len(self.lengths_E), np.random.default_rng(seed)
        size = max(1, BLOCK // num_episodes)
        for start in range(0, num, size):
            shares_E = np.full(num_episodes, 1 / num_episodes)
            yield rng.multinomial(num_episodes, shares_E, size=min(size, num - start)).astype(float)


def weights(log_ratio_N: Array, episodes: Episodes) -> Array:
    """Compute w_T of each episode, (E,). They sum to 1; all are NaN where the policy can make none of the episodes.

    Args:
        log_ratio_N: log pi(a|s) / b(a|s) of each row; -inf where the policy never takes the action.
        episodes: of the rows.
    """
    log_rho_E = np.add.reduceat(log_ratio_N, episodes.starts_E)
    if np.isneginf(log_rho_E).all():
        return np.full_like(log_rho_E, np.nan)
    normalized: Array = softmax(log_rho_E)
    return normalized


def effective_sample_size(weights_E: Array) -> float:
    """1 / sum_i w_i^2: E where all weights are equal, 1 where one episode has all the weight, NaN of NaN."""
    return float(1 / np.square(weights_E).sum())


def weighted_importance_sampling(
    rew_N: Array, log_ratio_N: Array, episodes: Episodes, gamma: float, counts_RE: Array
) -> Array:
    """sum_i w_T^i sum_t gamma^t r_t^i    (WIS, by whole episodes, as arXiv:1604.00923 compares itself with).

    Time limits and cuts end an episode's return where its recording does.

    Args:
        rew_N: rewards.
        log_ratio_N, episodes: see `weights`.
        gamma: discount, in [0, 1].
        counts_RE: how often each episode counts.

    Returns:
        An estimate a row of counts, (R,).
    """
    step_N = np.arange(len(rew_N)) - np.repeat(episodes.starts_E, episodes.lengths_E)
    return_E = np.add.reduceat(gamma**step_N * rew_N, episodes.starts_E)
    return _weighted_mean(return_E, np.add.reduceat(log_ratio_N, episodes.starts_E), counts_RE)


def weighted_doubly_robust(
    rew_N: Array,
    log_ratio_N: Array,
    episodes: Episodes,
    gamma: float,
    counts_RE: Array,
    *,
    q_N: Array,
    value_N: Array,
    value_next_N: Array,
) -> Array:
    """A model's values of the first states, corrected by the weighted errors of the model along the episodes.

    mean_i V(s_0^i) + sum_t gamma^t sum_i w_t^i (r_t^i + gamma V(s_{t+1}^i) - Q(s_t^i, a_t^i))

    (WDR of arXiv:1604.00923, terms of equal weight collected). It is consistent where the model's values are the
    policy's, and where the ratios are right. With all values 0 it is weighted importance sampling by step.

    Args:
        rew_N, log_ratio_N, episodes, gamma, counts_RE: see `weighted_importance_sampling`.
        q_N: Q(s_t, a_t).
        value_N: V(s_t).
        value_next_N: V(s_{t+1}), 0 where that state is terminal. Where an episode ends by a time limit, it stands for
            the rewards that were not recorded.

    Returns:
        An estimate a row of counts, (R,).
    """
    error_N = rew_N + gamma * value_next_N - q_N
    estimate_R = mean_over_episodes(value_N[episodes.starts_E], counts_RE)
    log_rho_E = np.zeros(len(episodes.starts_E))
    for t, is_open_E, rows in episodes.steps():
        log_rho_E[is_open_E] += log_ratio_N[rows]
        error_E = np.zeros(len(episodes.starts_E))
        error_E[is_open_E] = error_N[rows]
        estimate_R = estimate_R + gamma**t * _weighted_mean(error_E, log_rho_E, counts_RE)
    return estimate_R


def mean_over_episodes(value_E: Array, counts_RE: Array) -> Array:
    """sum_i c_i x_i / sum_i c_i, (R,)."""
    result: Array = counts_RE @ value_E / counts_RE.sum(-1)
    return result


def _weighted_mean(value_E: Array, log_rho_E: Array, counts_RE: Array) -> Array:
    """sum_i c_i rho_i x_i / sum_i c_i rho_i, (R,); NaN where all c_i rho_i are 0."""
    with np.errstate(invalid="ignore"):
        rho_E = np.exp(log_rho_E - log_rho_E.max())  # NaN where all are 0
        sums_R2 = counts_RE @ np.stack([rho_E * value_E, rho_E], -1)
        result: Array = sums_R2[:, 0] / sums_R2[:, 1]
    return result
