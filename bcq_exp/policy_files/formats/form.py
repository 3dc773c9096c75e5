"""The form of a format: how a traced program becomes a file, and how the file is run without this package."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar

from numpy.typing import NDArray
from torch.export import ExportedProgram

from bcq_exp.policy_files.program import Port

Arrays = Sequence[NDArray[Any]]
Run = Callable[[Arrays], Arrays]
"""A file that has been loaded: inputs to outputs, in the order of the program's."""


class PolicyFormat(ABC):
    """A format of policy files.

    `suffix` ends a file's name; `packages` are what writing and checking a file needs besides this package's own.
    """

    suffix: ClassVar[str]
    packages: ClassVar[tuple[str, ...]] = ()

    @classmethod
    def missing(cls) -> list[str]:
        """The packages that are not installed."""
        return [package for package in cls.packages if find_spec(package) is None]

    @staticmethod
    @abstractmethod
    def write(traced: ExportedProgram, inputs: Sequence[Port], outputs: Sequence[Port], path: Path) -> None:
        """Write a file; it is one file whatever the policy's size.

        Args:
            traced: the program.
            inputs, outputs: its own, in their order.
            path: of the file, which must not be there.

        Raises:
            ValueError: the format has no words for a step of the program.
        """

    @staticmethod
    @abstractmethod
    def load(path: Path) -> Run:
        """Load a file that this process has written."""

    @staticmethod
    @abstractmethod
    def usage(name: str, inputs: Sequence[Port]) -> list[str]:
        """Lines of Python that run a file of that name on one observation, without this package."""


def examples(inputs: Sequence[Port]) -> list[str]:
    """Lines of Python that make each input, with one row."""
    return [f"{port.name} = {port.example}" for port in inputs]
