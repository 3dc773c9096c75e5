"""The runs of a protocol: a sweep over seeds for each dataset and algorithm, each by the command a user would type."""

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bcq_exp.io.summary import SUMMARY
from experiments.reproduce.protocol import Budget, Protocol


@dataclass(frozen=True)
class Cell:
    """One sweep of a table.

    Args:
        dataset, algorithm: names in the protocol.
        command: that trains it, and goes on where it was stopped.
        folder: of its runs.
        seeds: number of runs.
    """

    dataset: str
    algorithm: str
    command: tuple[str, ...]
    folder: Path
    seeds: int

    @property
    def has_ended(self) -> bool:
        """Whether each run has a summary."""
        return len([*self.folder.glob(f"*/{SUMMARY}")]) == self.seeds


def cells(protocol: Protocol, budget: Budget, folder: Path) -> Iterator[Cell]:
    """Every sweep of a budget.

    Args:
        protocol: of the table.
        budget: one of its.
        folder: below which each sweep has a directory.
    """
    for dataset in budget.datasets:
        for algorithm in budget.algorithms:
            place = folder / dataset / algorithm
            words = [
                *protocol.algorithms[algorithm]["typed"],
                *protocol.datasets[dataset].get("typed", [f"dataset={dataset}"]),
                *budget.typed,
                f"seed={','.join(map(str, range(budget.seeds)))}",
                f"hydra.sweep.dir={place}",
            ]
            command = (sys.executable, "-m", "bcq_exp.train", "-m", *words)
            yield Cell(dataset, algorithm, command, place, budget.seeds)


def train(cell: Cell) -> None:
    """Train what has not ended.

    Raises:
        ValueError: the command has failed.
    """
    if cell.has_ended:
        return
    done = subprocess.run(cell.command, stdout=subprocess.DEVNULL)  # the table of each sweep alone
    if done.returncode or not cell.has_ended:
        raise ValueError(
            f"{cell.algorithm} on {cell.dataset} has not ended (see above); the same command goes on from here"
        )
