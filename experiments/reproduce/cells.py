"""The cells of a table: a learner on a dataset, trained by the command that a user would type."""

import re
import sys
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser

from bcq_exp.io.overrides import LAUNCH
from experiments.reproduce.protocol import Budget, Learner, Protocol


def identity(words: Iterable[str]) -> frozenset[str]:
    """What sets a run, of each key the last word, but for those that choose where it trains; `3e-4` is `0.0003`."""
    values = dict(key_and_value(word) for word in words if not word.startswith(LAUNCH))
    return frozenset(f"{key}={value}" for key, value in values.items())


@cache
def key_and_value(word: str) -> tuple[str, str]:
    """Both parts of a word, the value as Hydra reads it."""
    override = OverridesParser.create().parse_override(word)
    return override.get_key_element(), str(override.value())


@dataclass(frozen=True, eq=False)
class Cell:
    """A learner on a dataset: a sweep over seeds and the keys that the learner sweeps.

    Args:
        dataset, algorithm: names in the protocol.
        learner: of that name, as the budget has it.
        num_seeds: of each setting.
        words: of its commands, without swept keys, seeds and directory.
        folder: of its runs.
    """

    dataset: str
    algorithm: str
    learner: Learner
    num_seeds: int
    words: tuple[str, ...]
    folder: Path

    @property
    def settings(self) -> dict[str, dict[str, Any]]:
        """The setting of each row that is trained here, by row."""
        return self.learner.trained(self.algorithm)

    def identity(self, row: str, seed: int) -> frozenset[str]:
        """What one run is told by."""
        return identity([*self.words, *(f"{key}={value}" for key, value in self.settings[row].items()), f"seed={seed}"])

    def identities(self) -> dict[str, list[tuple[str, frozenset[str]]]]:
        """By row, of the run of each seed the dataset and what it is told by."""
        seeds = range(self.num_seeds)
        return {row: [(self.dataset, self.identity(row, seed)) for seed in seeds] for row in self.settings}

    def sweep(self, rows: Sequence[str]) -> Path:
        """The directory of a sweep: the folder where it is over all rows, or in it one that is named by its values."""
        if [*rows] == [*self.settings]:
            return self.folder
        values = ["-".join(map(str, self.settings[row].values())) for row in rows]
        return self.folder / re.sub(r"[^\w.+-]", "-", "_".join(values))

    def command(self, rows: Sequence[str]) -> tuple[str, ...]:
        """The command that trains some rows, and goes on where it was stopped."""
        swept = {key: dict.fromkeys(self.settings[row][key] for row in rows) for key in self.learner.sweep}
        words = [
            *self.words,
            *(f"{key}={','.join(map(str, values))}" for key, values in swept.items()),
            f"seed={','.join(map(str, range(self.num_seeds)))}",
            f"hydra.sweep.dir={self.sweep(rows)}",
        ]
        return (sys.executable, "-m", self.learner.module, "-m", *words)

    def left(self, wanted: Collection[str], ended: Collection[str]) -> list[str]:
        """The rows that the next sweep trains: of those wanted, all that have not ended.

        A sweep that was begun over all that are wanted goes on with all of them, and so does one over several keys,
        whose values are combined in full.
        """
        rows = [row for row in self.settings if row in wanted]
        left = [row for row in rows if row not in ended]
        if left and len(self.learner.sweep) > 1:
            return [*self.settings]
        return rows if left and self.sweep(rows).exists() else left


def cells(
    protocol: Protocol, budget: Budget, folder: Path, device: str = "cpu", *, is_alone: bool = True
) -> Iterator[Cell]:
    """Every learner on every dataset of a budget.

    Args:
        protocol: of the table.
        budget: one of its.
        folder: below which each sweep has a directory.
        device: that trains.
        is_alone: whether one sweep trains at a time; otherwise each has one thread, since threads of several would
            wait for each other.
    """
    launch = [*([] if device == "cpu" else [f"device={device}"]), *([] if is_alone else ["num_threads=1"])]
    for dataset in budget.datasets:
        for name, learner in protocol.learners(budget, dataset).items():
            words = (*learner.typed, *protocol.data(budget, dataset).typed, *budget.typed, *launch)
            yield Cell(dataset, name, learner, budget.seeds, words, folder / dataset / name)
