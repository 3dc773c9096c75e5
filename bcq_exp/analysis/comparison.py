"""The rows that are compared: kinds of runs on one dataset, each over its seeds."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from bcq_exp.analysis.results import RETURNS, Result, behaviour_return, grouped, num_updates
from bcq_exp.analysis.statistics import Scores


@dataclass(frozen=True)
class Row:
    """Runs that differ in their seed only.

    Args:
        name: the algorithm, and what sets the runs apart from others on the dataset.
        runs: all, failed and pruned ones included.
    """

    name: str
    runs: Sequence[Result]

    @cached_property
    def finished(self) -> list[Result]:
        """The runs that reached their last update."""
        return [result for result in self.runs if result.is_finished]

    @cached_property
    def measured(self) -> list[Result]:
        """The runs that figures are of: those of the finished ones that have a return or an estimate."""
        return [result for result in self.finished if result.final is not None]

    @property
    def algorithm(self) -> str:
        """By its name in the registry."""
        return str(self.runs[0].summary["algorithm"])

    @property
    def settings(self) -> dict[str, str]:
        """Keys and values that were typed for all of the runs."""
        common = frozenset.intersection(*(result.overrides for result in self.runs))
        return {key: value for key, _, value in (word.partition("=") for word in sorted(common))}

    @property
    def finals(self) -> list[float]:
        """Returns, or estimates, of the last evaluation."""
        return [result.final for result in self.measured if result.final is not None]

    @property
    def lasts(self) -> list[float]:
        """Means of the last evaluations."""
        return [result.last_return for result in self.measured]

    @property
    def by_seed(self) -> dict[int, float]:
        """Final figures by seed; of two runs with one seed the later directory's."""
        return {int(result.summary["seed"]): final for result, final in zip(self.measured, self.finals, strict=True)}

    @property
    def scores(self) -> list[float] | None:
        """Normalised final scores; None where the dataset has no references."""
        scores = [result.summary["final_normalized_score"] for result in self.measured]
        return None if None in scores else scores

    @property
    def status(self) -> str:
        """The number of finished runs, and those of others by what befell them."""
        statuses = [result.summary["status"] for result in self.runs]
        num_cut = sum(result.summary.get("final_cut_episodes", 0) > 0 for result in self.finished)
        counts = [(statuses.count("failed"), "failed"), (statuses.count("pruned"), "pruned"), (num_cut, "cut")]
        marks = [f"{num} {mark}" for num, mark in counts if num]
        return f"{len(self.finished)} ({', '.join(marks)})" if marks else f"{len(self.finished)}"


@dataclass(frozen=True)
class Comparison:
    """The rows of one dataset, the largest mean final return, or estimate, first; rows that have none last.

    Args:
        dataset: its name, with the environment where one name has several.
        rows: at least one.
    """

    dataset: str
    rows: Sequence[Row]

    @property
    def measure(self) -> str:
        """What figures are, as `Result.measure` says: the same for all rows."""
        return self.rows[0].runs[0].measure

    @property
    def is_of_returns(self) -> bool:
        """Whether figures are returns of episodes, so that the behaviour's return can stand beside them."""
        return self.measure == RETURNS

    @property
    def updates(self) -> dict[str, int]:
        """Updates of each row's longest run."""
        return {row.name: num_updates(row.runs) for row in self.rows}

    @property
    def behaviours(self) -> dict[str, float]:
        """The mean return of the data that each row learned from."""
        return {row.name: behaviour_return(row.runs[0]) for row in self.rows}


def compare(results: Sequence[Result]) -> list[Comparison]:
    """Sort results into comparisons, one a dataset."""

    def rank(row: Row) -> tuple[float, str]:
        return (float(np.mean(row.finals)) if row.measured else -np.inf), row.name

    return [
        Comparison(dataset, sorted((Row(name, runs) for name, runs in kinds.items()), key=rank, reverse=True))
        for dataset, kinds in grouped(results).items()
    ]


def scores_by_row(comparisons: Sequence[Comparison]) -> dict[str, Scores]:
    """Normalised scores by dataset of each row that has some on every dataset, by its name."""
    found: dict[str, dict[str, list[float]]] = {}
    for comparison in comparisons:
        for row in comparison.rows:
            if row.measured and (scores := row.scores) is not None:
                found.setdefault(row.name, {})[comparison.dataset] = scores
    return {name: by_dataset for name, by_dataset in found.items() if len(by_dataset) == len(comparisons)}
