"""Results of runs that have ended, read from their summaries and metrics, and sorted into the rows of a comparison."""

import csv
import logging
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bcq_exp.io.overrides import LAUNCH, own_settings, short_names
from bcq_exp.io.summary import LAST, SUMMARY, final_figure, read_summary
from bcq_exp.training.member import ESTIMATE, RETURN

RETURNS, NOTHING = "returns", "returns unknown"  # measures of runs; others are estimates

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Result:
    """A run that has ended: its directory, its summary and its evaluations as (update, mean return or estimate)."""

    directory: Path
    summary: dict[str, Any]
    evaluations: list[tuple[int, float]]

    @property
    def is_finished(self) -> bool:
        """Whether the run reached its last update; a failed or pruned one has not."""
        return bool(self.summary["status"] == "finished")

    @property
    def overrides(self) -> frozenset[str]:
        """The typed overrides, except the seed and those that the table shows in any case."""
        return frozenset(own_settings(self.summary["overrides"]))

    @property
    def launch(self) -> list[str]:
        """The words that chose where it trained."""
        return [word for word in self.summary["overrides"] if word.startswith(LAUNCH)]

    @property
    def experiment(self) -> list[str]:
        """The word that chose the experiment, the last one of them; empty where none was typed."""
        return [word for word in self.summary["overrides"] if word.startswith("experiment=")][-1:]

    @property
    def final(self) -> float | None:
        """The final return, or the final estimate of a run without environment; None where it has neither."""
        found = final_figure(self.summary)
        return found and found[1]

    @property
    def measure(self) -> str:
        """What its figures are: `RETURNS`, estimates with the estimator and what it saw, or `NOTHING`."""
        if self.summary["env"] is not None:
            return RETURNS
        estimator = self.summary.get("final_estimator")
        return f"{estimator} estimates on {self.summary.get('judged_on')}" if estimator else NOTHING

    @property
    def last_return(self) -> float:
        """Mean return, or estimate, of the last `LAST` evaluations."""
        return float(np.mean([value for _, value in self.evaluations[-LAST:]]))


def read_results(directories: Iterable[Path]) -> list[Result]:
    """Read all runs below the directories that have a summary, sorted by path; skip damaged ones with a warning.

    Raises:
        ValueError: there is none.
    """
    searched = list(directories)
    results, where = [], f"below {', '.join(map(str, searched))}"
    run_dirs = sorted({path.parent for directory in searched for path in directory.rglob(SUMMARY)})
    for run_dir in run_dirs:
        try:
            results.append(Result(run_dir, read_summary(run_dir), read_evaluations(run_dir / "metrics.csv")))
        except (ValueError, OSError) as error:
            log.warning("%s; the run is left out", error)
    if not results and run_dirs:
        raise ValueError(f"every run {where} that has ended is damaged")
    if not results:
        raise ValueError(f"no {SUMMARY} {where}: no run has ended there")
    return results


def read_evaluations(path: Path) -> list[tuple[int, float]]:
    """Read the update and the mean return of each evaluation from a run's `metrics.csv`; its estimate where the run has
    no environment, and none where neither was logged.

    Raises:
        ValueError: it is damaged.
        OSError: it cannot be read.
    """
    try:
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            column = next((name for name in (RETURN, ESTIMATE) if name in (reader.fieldnames or ())), None)
            rows = [(int(row["update"]), "" if column is None else row[column]) for row in reader]
        return [(update, float(value)) for update, value in rows if value]
    except (ValueError, KeyError, TypeError, csv.Error):
        raise ValueError(
            f"{path} was damaged after it was written; resume={path.parent} writes it anew from the last checkpoint"
        ) from None


def grouped(results: Sequence[Result]) -> dict[str, dict[str, list[Result]]]:
    """Group results by dataset, then by kind: the algorithm, and the overrides that not all runs of this algorithm on
    the dataset share, by their short names.

    Where runs of one dataset are in several environments, or in none and measured differently, its name says so, and
    where one algorithm is in several experiments, the kind's name includes the experiment. `split` says what else
    tells kinds apart.
    """
    places, by_dataset = defaultdict[str, set[str]](set), defaultdict[str, list[Result]](list)
    for result in results:
        places[result.summary["dataset"]].add(place(result))
    for result in results:
        dataset = result.summary["dataset"]
        by_dataset[dataset if len(places[dataset]) == 1 else f"{dataset} {place(result)}"].append(result)
    return {dataset: dict(kinds(members)) for dataset, members in by_dataset.items()}


def kinds(results: Sequence[Result]) -> Iterator[tuple[str, list[Result]]]:
    """Name and results of each kind of run on one dataset."""
    by_algorithm = defaultdict[str, list[Result]](list)
    for result in results:
        by_algorithm[result.summary["algorithm"]].append(result)
    for algorithm, runs in by_algorithm.items():
        common = frozenset.intersection(*(run.overrides for run in runs))
        names = short_names(frozenset.union(*(run.overrides for run in runs)) - common)
        words = [(*run.experiment, *sorted(names[word] for word in run.overrides - common)) for run in runs]
        for name, group in told_apart(algorithm, runs, words).items():
            yield from split(name, group)


def place(result: Result) -> str:
    """Where a run's figures come from, in words: its environment, or the data alone."""
    env = result.summary["env"]
    return f"in {env}" if env is not None else f"without environment, {result.measure}"


def split(kind: str, results: Sequence[Result]) -> Iterator[tuple[str, list[Result]]]:
    """Split results of one kind until each has the same behaviour return and number of updates, and each seed once.

    A run that failed or was pruned counts among the longest runs on the same data. Runs of one seed, such as those of
    two machines, are told apart by the device that was typed and by the directory of their sweep. Names say what
    differs.
    """
    data = [behaviour_return(result) for result in results]
    longest: dict[float, int] = {}
    for result, behaviour in zip(results, data, strict=True):
        if result.is_finished:
            longest[behaviour] = max(longest.get(behaviour, 0), result.summary["num_updates"])
    updates = [
        result.summary["num_updates"] if result.is_finished else longest.get(behaviour, 0)
        for result, behaviour in zip(results, data, strict=True)
    ]
    words = [(f"behaviour={of:.6g}", f"num_updates={num}") for of, num in zip(data, updates, strict=True)]
    for name, group in told_apart(kind, results, words).items():
        seeds = [result.summary["seed"] for result in group if result.is_finished]
        if len(seeds) == len(set(seeds)):
            yield name, group
        else:
            places = [(*run.launch, f"in {run.directory.parent}") for run in group]
            yield from told_apart(name, group, places).items()


def told_apart(kind: str, results: Sequence[Result], words: Sequence[Sequence[str]]) -> dict[str, list[Result]]:
    """Split results of one kind by their words; names have those that not all share."""
    common = frozenset.intersection(*map(frozenset, words))
    groups = defaultdict[str, list[Result]](list)
    for result, own in zip(results, words, strict=True):
        groups[" ".join([kind, *(word for word in own if word not in common)])].append(result)
    return groups


def num_updates(group: Sequence[Result]) -> int:
    """Updates of the longest run of a group."""
    return max(int(result.summary["num_updates"]) for result in group)


def behaviour_return(result: Result) -> float:
    """Mean return of the data that a run learned from, to six digits: two machines may record it with others behind."""
    return float(f"{result.summary['behaviour_return']:.6g}")
