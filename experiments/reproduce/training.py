"""The runs of a protocol: a sweep for each dataset and algorithm, each by the command a user would type."""

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bcq_exp.io.summary import SUMMARY
from experiments.reproduce.protocol import Budget, Learner, Protocol


@dataclass(frozen=True, eq=False)
class Cell:
    """One sweep of a table, over seeds and the keys that its learner sweeps.

    Args:
        dataset, algorithm: names in the protocol.
        learner: of that name, as the budget has it.
        num_seeds: of each setting.
        command: that trains it, and goes on where it was stopped.
        folder: of its runs.
    """

    dataset: str
    algorithm: str
    learner: Learner
    num_seeds: int
    command: tuple[str, ...]
    folder: Path

    @property
    def num_runs(self) -> int:
        """Of all seeds and settings that it trains."""
        return self.num_seeds * len(self.learner.trained(self.algorithm))

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
            place, settings = folder / dataset / name, learner.trained(name).values()
            swept = {key: dict.fromkeys(setting[key] for setting in settings) for key in learner.sweep}
            words = [
                *learner.typed,
                *protocol.data(budget, dataset).typed,
                *budget.typed,
                *([] if device == "cpu" else [f"device={device}"]),
                *([] if is_alone else ["num_threads=1"]),
                *(f"{key}={','.join(map(str, values))}" for key, values in swept.items()),
                f"seed={','.join(map(str, range(budget.seeds)))}",
                f"hydra.sweep.dir={place}",
            ]
            command = (sys.executable, "-m", learner.module, "-m", *words)
            yield Cell(dataset, name, learner, budget.seeds, command, place)


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
