"""The runs of a protocol: a sweep for each dataset and algorithm, each by the command a user would type."""

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bcq_exp.io.summary import SUMMARY
from experiments.reproduce.protocol import Budget, Protocol


@dataclass(frozen=True)
class Cell:
    """One sweep of a table, over seeds and the keys that its learner sweeps.

    Args:
        dataset, algorithm: names in the protocol.
        command: that trains it, and goes on where it was stopped.
        folder: of its runs.
        num_runs: of all seeds and settings.
    """

    dataset: str
    algorithm: str
    command: tuple[str, ...]
    folder: Path
    num_runs: int

    @property
    def has_ended(self) -> bool:
        """Whether each run has a summary."""
        return len([*self.folder.glob(f"*/{SUMMARY}")]) == self.num_runs


def cells(
    protocol: Protocol, budget: Budget, folder: Path, device: str = "cpu", *, is_alone: bool = True
) -> Iterator[Cell]:
    """Every sweep of a budget.

    Args:
        protocol: of the table.
        budget: one of its.
        folder: below which each sweep has a directory.
        device: that trains.
        is_alone: whether one sweep trains at a time; otherwise each has one thread, since threads of several would
            wait for each other.
    """
    for dataset in budget.datasets:
        for name, learner in protocol.learners(budget, dataset).items():
            place = folder / dataset / name
            words = [
                *learner.typed,
                *protocol.data(budget, dataset).typed,
                *budget.typed,
                *([] if device == "cpu" else [f"device={device}"]),
                *([] if is_alone else ["num_threads=1"]),
                *(f"{key}={','.join(map(str, values))}" for key, values in learner.sweep.items()),
                f"seed={','.join(map(str, range(budget.seeds)))}",
                f"hydra.sweep.dir={place}",
            ]
            command = (sys.executable, "-m", learner.module, "-m", *words)
            yield Cell(dataset, name, command, place, budget.seeds * len(learner.rows(name)))


def train(cell: Cell) -> None:
    """Train what has not ended of a sweep.

    Raises:
        ValueError: the command has failed.
    """
    done = subprocess.run(cell.command, stdout=subprocess.DEVNULL)  # the table of each sweep alone
    if done.returncode or not cell.has_ended:
        raise ValueError(
            f"{cell.algorithm} on {cell.dataset} has not ended (see above); the same command goes on from here"
        )
