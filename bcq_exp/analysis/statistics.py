"""Statistics of runs: over seeds, over datasets (arXiv:2108.13264) and over the settings of a sweep (arXiv:1909.03004).

Deviations are over n - 1. Intervals are of 95 %: by Student's t over the seeds of one dataset, by the bootstrap over
several datasets, in which each dataset's seeds are drawn anew with replacement (stratified; percentiles of `RESAMPLES`
draws with a fixed seed, so that a table is the same each time it is made).

Shape suffixes: N values, T thresholds.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import stats

CONFIDENCE = 0.95
RESAMPLES = 2000

Scores = Mapping[str, Sequence[float]]
"""A score for each seed, by dataset."""


class Estimate(NamedTuple):
    """A figure with the ends of its interval; these are nan where there is nothing to draw anew: a single seed."""

    value: float
    low: float
    high: float


def interval(values: Sequence[float]) -> tuple[float, float, float]:
    """Mean, standard deviation and half the width of the mean's t interval; nan for one value."""
    mean, num = float(np.mean(values)), len(values)
    if num == 1:
        return mean, float("nan"), float("nan")
    std = float(np.std(values, ddof=1))
    return mean, std, float(stats.t.ppf(0.5 + CONFIDENCE / 2, num - 1)) * std / num**0.5


def sample_deviation(deviation: float, num: int) -> float:
    """The deviation over n - 1 from one over n, which many papers print; nan for one value."""
    return deviation * (num / (num - 1)) ** 0.5 if num > 1 else float("nan")


# ------------------------------------------------------------------ over datasets


def interquartile_mean(values: NDArray[Any], axis: int = -1) -> Any:
    """The mean of the values but a quarter at each end    (arXiv:2108.13264, section 4.3)."""
    return stats.trim_mean(values, 0.25, axis=axis)


def over_datasets(scores: Scores, statistic: Callable[..., Any] = interquartile_mean) -> Estimate:
    """A statistic of all scores together, with its stratified interval.

    Args:
        scores: of one algorithm.
        statistic: (values, axis) to a number along that axis.
    """

    def pooled(*samples: NDArray[Any], axis: int = -1) -> Any:
        return statistic(np.concatenate(samples, axis), axis=axis)

    return bootstrapped([np.asarray(values, float) for values in scores.values()], pooled)


def performance_profile(scores: Scores, thresholds: Sequence[float]) -> list[Estimate]:
    """The share of runs with a score above each threshold    (arXiv:2108.13264, section 4.3)."""

    def above(threshold: float) -> Estimate:
        return over_datasets(scores, lambda values, axis: (values > threshold).mean(axis))

    return [above(threshold) for threshold in thresholds]


def probability_of_improvement(ours: Scores, theirs: Scores) -> Estimate:
    """P(X > Y) + P(X = Y) / 2 of runs X of one algorithm and Y of another, mean over datasets    (section 4.3).

    Raises:
        ValueError: the datasets differ.
    """
    if set(ours) != set(theirs):
        raise ValueError(f"datasets differ: {sorted(ours)} and {sorted(theirs)}")
    pairs = [(np.asarray(ours[name], float), np.asarray(theirs[name], float)) for name in ours]

    def mean_probability(*samples: NDArray[Any], axis: int = -1) -> Any:
        shares = [
            stats.mannwhitneyu(x, y, axis=axis, method="asymptotic").statistic / (x.shape[axis] * y.shape[axis])
            for x, y in zip(samples[::2], samples[1::2], strict=True)
        ]
        return np.mean(shares, 0)

    return bootstrapped([sample for pair in pairs for sample in pair], mean_probability)


def bootstrapped(samples: Sequence[NDArray[Any]], statistic: Callable[..., Any]) -> Estimate:
    """A statistic of several samples with the interval that drawing each of them anew gives.

    Args:
        samples: each (N,), of any numbers of values.
        statistic: (*samples, axis) to a number along that axis.
    """
    value = float(statistic(*samples, axis=-1))
    if min(len(sample) for sample in samples) < 2:
        return Estimate(value, float("nan"), float("nan"))
    low, high = stats.bootstrap(
        samples,
        statistic,
        n_resamples=RESAMPLES,
        vectorized=True,
        confidence_level=CONFIDENCE,
        method="percentile",
        rng=np.random.default_rng(0),
    ).confidence_interval
    return Estimate(value, float(low), float(high))


# ------------------------------------------------------------------ over the settings of a sweep


def expected_best(values: Sequence[float]) -> list[float]:
    """The expected largest of 1, 2, ... N values drawn with replacement    (arXiv:1909.03004, section 3).

    E[max of n] = sum_i v_(i) [(i / N)^n - ((i - 1) / N)^n]

    Args:
        values: one a setting, the mean over its seeds.
    """
    ordered_N, num = np.sort(np.asarray(values, float)), len(values)
    ranks_N = np.arange(num + 1) / num
    return [float((ordered_N * np.diff(ranks_N**n)).sum()) for n in range(1, num + 1)]


def paired_difference(ours: Mapping[int, float], theirs: Mapping[int, float]) -> tuple[float, float, float, int]:
    """Mean, deviation, half the interval's width, and number of the differences of the seeds that both have.

    Raises:
        ValueError: they have no seed in common.
    """
    differences = [ours[seed] - theirs[seed] for seed in sorted(ours.keys() & theirs.keys())]
    if not differences:
        raise ValueError(f"no seed in common: {sorted(ours)} and {sorted(theirs)}")
    return *interval(differences), len(differences)


def best_setting(values: Mapping[str, Mapping[int, float]]) -> tuple[str, list[float]]:
    """The setting with the largest mean, and what choosing it is worth on seeds that did not choose.

    For each seed, the setting that is best on the mean of the others is chosen, and its value with this seed is kept.

    Args:
        values: of each setting, by seed; settings count with the seeds that all of them have.

    Raises:
        ValueError: fewer than two seeds in common.
    """
    seeds = sorted(set.intersection(*(set(by_seed) for by_seed in values.values())))
    if len(seeds) < 2:
        raise ValueError(f"seeds {seeds} are in all settings: two are needed, one to choose and one to judge")

    def best(chosen_by: Sequence[int]) -> str:
        return max(values, key=lambda setting: float(np.mean([values[setting][seed] for seed in chosen_by])))

    kept = [values[best([other for other in seeds if other != seed])][seed] for seed in seeds]
    return best(seeds), kept
