"""The settings of an algorithm that a sweep tried, on one dataset."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bcq_exp.analysis.comparison import Comparison, Row
from bcq_exp.analysis.statistics import best_setting, interval
from bcq_exp.io.overrides import short_names


@dataclass(frozen=True)
class Sweep:
    """Rows of one algorithm that differ in typed keys.

    Args:
        algorithm: its name.
        keys: those in which the rows differ.
        rows: with a finished run each, and a value of each key.
    """

    algorithm: str
    keys: Sequence[str]
    rows: Sequence[Row]

    @property
    def names(self) -> list[str]:
        """Short names of the keys."""
        short = short_names(self.keys)
        return [short[key].removesuffix("=") for key in self.keys]

    def map(self) -> tuple[list[str], list[str], NDArray[np.float64]] | None:
        """Values of the first and of the second key, and the mean final return of each pair; None where pairs lack."""
        first, second = ([row.settings[key] for row in self.rows] for key in self.keys)
        down, along = (sorted(set(values), key=rank) for values in (first, second))
        means = np.full((len(down), len(along)), np.nan)
        for row, here, there in zip(self.rows, first, second, strict=True):
            means[down.index(here), along.index(there)] = np.mean(row.finals)
        return None if np.isnan(means).any() else (down, along, means)

    def best(self) -> tuple[str, float, float] | None:
        """The best setting by its mean, with mean and half the interval of what choosing it gives on other seeds.

        None where the rows have fewer than two seeds in common.
        """
        try:
            name, kept = best_setting({row.name: row.by_seed for row in self.rows})
        except ValueError:
            return None
        mean, _, half = interval(kept)
        return name, mean, half


def rank(value: str) -> tuple[float, str]:
    """Numbers in their order, before other words in theirs."""
    try:
        return float(value), ""
    except ValueError:
        return float("inf"), value


def swept(comparison: Comparison) -> list[Sweep]:
    """The sweeps of each algorithm: rows with the same typed keys, of which some have several values."""
    by_algorithm: dict[str, list[Row]] = defaultdict(list)
    for row in comparison.rows:
        if row.measured:
            by_algorithm[row.algorithm].append(row)
    found = []
    for algorithm, rows in by_algorithm.items():
        different = {*differing(rows)}
        by_keys: dict[frozenset[str], list[Row]] = defaultdict(list)
        for row in rows:
            by_keys[frozenset(different & row.settings.keys())].append(row)
        found += [Sweep(algorithm, keys, own) for own in by_keys.values() if (keys := differing(own))]
    return found


def differing(rows: Sequence[Row]) -> list[str]:
    """The keys that were typed with several values."""
    typed = dict.fromkeys(pair for row in rows for pair in row.settings.items())
    return [key for key, num in Counter(key for key, _ in typed).items() if num > 1]
