"""Golden values: what another code's updates gave, and what they were given.

A file of safetensors, which cannot hold code, has these tensors; U updates, B rows, and numbers of stages as in
`Algorithm.stages`:

    batch/COLUMN            (U, B, ...) the minibatch of each update
    noise/STAGE/NAME        (U, B, ...) the random numbers that a stage's loss was given
    loss/STAGE/NAME         (U,) its loss (`total`) or a metric of it; NaN where the stage made no step
    weights/N/NETWORK/KEY   weights after N updates; those after 0 are given
    targets/N/NETWORK/KEY   weights of the target networks, likewise

All names are ours: where the other code holds the same numbers in another arrangement, they were arranged anew.
"""

import csv
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

FOLDER = Path(__file__).parent / "golden"
SOURCES = Path(__file__).parent / "sources.csv"
COMPARED_AFTER = (1, 10)  # updates


@dataclass(frozen=True)
class Source:
    """A row of `sources.csv`: where golden values come from, or why there are none.

    Args:
        case: a key of `cases.CASES`, or an algorithm without a reference.
        algorithm: in the registry.
        repository, commit, file: of the code that gave the values, or a package's release; empty without a reference.
        precision: `float64` or `float32`.
        run: what was run of it, and how.
        departures: where the reference and our default differ, and which setting removes it; or why there is none.
    """

    case: str
    algorithm: str
    repository: str
    commit: str
    file: str
    precision: str
    run: str
    departures: str


def sources() -> list[Source]:
    """The rows of the table of sources, in order."""
    with SOURCES.open(newline="") as file:
        return [Source(**row) for row in csv.DictReader(file)]


@dataclass(frozen=True)
class Golden:
    """The golden values of a case, by the names that this module's head lists."""

    tensors: dict[str, Tensor]

    @classmethod
    def of(cls, case: str) -> "Golden":
        """Read the file of a case."""
        return cls(load_file(FOLDER / f"{case}.safetensors"))

    @property
    def num_updates(self) -> int:
        """Updates that were made."""
        return len(self.tensors["batch/obs"])

    @property
    def dtype(self) -> torch.dtype:
        """The precision of all real numbers."""
        return self.tensors["batch/obs"].dtype

    def under(self, prefix: str) -> dict[str, Tensor]:
        """The tensors of one kind, without the prefix and its slash."""
        return {
            key.removeprefix(f"{prefix}/"): tensor
            for key, tensor in self.tensors.items()
            if key.startswith(f"{prefix}/")
        }

    @property
    def results(self) -> dict[str, Tensor]:
        """What the updates gave: losses, and weights after some of them."""
        prefixes = ("loss/", *(f"{kind}/{num}/" for kind in ("weights", "targets") for num in COMPARED_AFTER))
        return {key: tensor for key, tensor in self.tensors.items() if key.startswith(prefixes)}
