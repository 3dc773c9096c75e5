"""Published figures, and the scores of runs, on one scale."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bcq_exp.analysis.comparison import Row
from bcq_exp.analysis.statistics import interval, sample_deviation
from bcq_exp.envs.environments import normalized_score
from experiments.benchmark.cases import composed
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


def published(protocol: Protocol, path: Path = REFERENCES) -> dict[tuple[str, str], Published]:
    """The figures that the protocol's reference holds, by names of dataset and algorithm."""
    if not protocol.reference:
        return {}
    with path.open(newline="", encoding="utf-8") as file:
        rows = [
            row for row in csv.DictReader(file) if all(row[key] == value for key, value in protocol.reference.items())
        ]
    by_name = {(row["env"], row["dataset"], row["algorithm"]): row for row in rows}
    found = {}
    for dataset, of_dataset in protocol.datasets.items():
        for algorithm, of_algorithm in protocol.algorithms.items():
            row = by_name.get((of_dataset.get("env"), of_dataset.get("dataset"), of_algorithm.get("reference")))
            if row is not None:
                found[dataset, algorithm] = _published(row)
    return found


def _published(row: dict[str, str]) -> Published:
    std, num = (float(row["std"]) if row["std"] else None), (int(row["seeds"]) if row["seeds"] else None)
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
        words: that choose the dataset.
    """

    def __init__(self, words: Sequence[str]) -> None:
        dataset = composed(*words)["dataset"]
        self.low, self.high = float(dataset["ref_min"]), float(dataset["ref_max"])

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
