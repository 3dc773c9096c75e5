"""The settings of an algorithm that a sweep tried, on one dataset."""

from collections import defaultdict
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
    """A sweep for each algorithm that has two settings or more."""
    by_algorithm: dict[str, list[Row]] = defaultdict(list)
    for row in comparison.rows:
        if row.measured:
            by_algorithm[row.algorithm].append(row)
    found = []
    for algorithm, rows in by_algorithm.items():
        values = defaultdict[str, set[str]](set)
        for row in rows:
            for key, value in row.settings.items():
                values[key].add(value)
        keys = [key for key, different in values.items() if len(different) > 1]
        whole = [row for row in rows if row.settings.keys() >= set(keys)]
        if keys and len(whole) > 1:
            found.append(Sweep(algorithm, keys, whole))
    return found
