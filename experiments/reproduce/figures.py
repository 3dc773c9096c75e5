"""Published figures, and the scores of runs, on one scale."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

from bcq_exp.analysis.comparison import Row
from bcq_exp.analysis.statistics import interval, sample_deviation
from bcq_exp.data.schema import DatasetConfig
from bcq_exp.envs.environments import normalized_score
from experiments.reproduce.protocol import EXPERIMENTS, Protocol

REFERENCES = EXPERIMENTS / "reproduce" / "reference_results.csv"
DEVIATION_OVER_N = ("d3rlpy-benchmarks",)  # sources whose deviations are over n


@dataclass(frozen=True)
class Published:
    """A published figure: mean and deviation over n - 1 (None where none is printed), and how it was read."""

    mean: float
    std: float | None
    num_seeds: int | None
    status: str


def published(protocol: Protocol, path: Path = REFERENCES) -> dict[tuple[str, str], dict[str, Published]]:
    """The figures that the protocol's references hold, by names of dataset and algorithm, each by its reference's."""
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    found: dict[tuple[str, str], dict[str, Published]] = {}
    for reference in protocol.references:
        by_name = {
            (row["env"], row["dataset"], row["algorithm"]): row
            for row in rows
            if (row["source"], row["table"], row["metric"]) == (reference.source, reference.table, reference.metric)
        }
        for (dataset, data), (algorithm, learner) in product(protocol.datasets.items(), protocol.algorithms.items()):
            for names in product(data.published, learner.published):
                if row := by_name.get((data.env, *names)):
                    found.setdefault((dataset, algorithm), {})[reference.name] = _published(row)
    return found


def _published(row: dict[str, str]) -> Published:
    std, num = (float(row["std"]) if row["std"] else None), (int(row["seeds"]) if row["seeds"].isdigit() else None)
    if std is not None and num is not None and row["source"] in DEVIATION_OVER_N:
        std = sample_deviation(std, num)
    return Published(float(row["mean"]), std, num, row["status"])


@dataclass(frozen=True)
class Score:
    """Mean normalised score over seeds of the last ten evaluations, half its 95 % interval, and each seed's."""

    mean: float
    half: float
    by_seed: Sequence[float]


class Scale:
    """The normalised scale of a dataset: 0 is random play.

    Args:
        dataset: with both references.
    """

    def __init__(self, dataset: DatasetConfig) -> None:
        if dataset.ref_min is None or dataset.ref_max is None:
            raise ValueError(f"{dataset.name}: dataset.ref_min and ref_max are null; criteria need both")
        self.low, self.high = dataset.ref_min, dataset.ref_max

    def score(self, value: float) -> float:
        """The normalised score of a return."""
        found = normalized_score(value, ref_min=self.low, ref_max=self.high)
        assert found is not None
        return found

    def of(self, row: Row) -> Score | None:
        """The score of a row's finished runs; None where none has finished."""
        values = [self.score(value) for value in row.lasts]
        if not values:
            return None
        mean, _, half = interval(values)
        return Score(mean, half, values)
