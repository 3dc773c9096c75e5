"""The form of an executor: what runs a sweep's groups, and how much of a machine each of them gets."""

import importlib.util
import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from bcq_exp.engine.machine import AUTO, LONE_THREADS, num_cores
from bcq_exp.sweeps.executors.resources import visible_gpus
from bcq_exp.sweeps.executors.supervision import Start, supervise
from bcq_exp.sweeps.group import Group
from bcq_exp.sweeps.memory import free_bytes

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Executor(ABC):
    """A kind of executor, with the user's keys of `hydra.launcher`.

    Class attributes:
        package: that it needs, which is the name of its extra as well; None for none.
        folder: its files' folder in the sweep's directory; None where it writes none.
        has_processes: whether each group gets a process of its own.

    Args:
        name: its key in the registry, for messages.
        num_processes: groups that run at a time; None for one a GPU, or as many as there are cores for.
        options: of its package.
    """

    name: str
    num_processes: int | None
    options: Mapping[str, Any]

    package: ClassVar[str | None] = None
    folder: ClassVar[str | None] = None
    has_processes: ClassVar[bool]

    def refusal(self, reason: object) -> ValueError:
        """The error that names this executor, and why it refuses."""
        return ValueError(f"hydra.launcher.executor={self.name}: {str(reason).strip()}")

    def check(self) -> None:
        """Check the keys before anything starts.

        Raises:
            ValueError: the package is not installed, this machine has fewer cores, or an option is refused.
        """
        if self.package and importlib.util.find_spec(self.package) is None:
            raise ValueError(
                f"hydra.launcher.executor={self.name} needs {self.package}: pip install 'bcq_exp[{self.package}]'"
            )
        if self.is_here and (self.num_processes or 0) > num_cores():
            raise ValueError(
                f"hydra.launcher.num_processes={self.num_processes}: allowed are 1 to {num_cores()}, the cores of this"
                " machine"
            )
        self.check_options()

    @abstractmethod
    def check_options(self) -> None:
        """Raise ValueError where an option is refused; the package is installed."""

    @property
    def is_here(self) -> bool:
        """Whether the groups run on this machine."""
        return True

    def places(self, num_threads: int | str, device: str) -> int:
        """Groups that run at a time on this machine.

        Args:
            num_threads: that a group asks for, or auto.
            device: where it computes.
        """
        if self.num_processes is not None:
            return self.num_processes
        return len(visible_gpus()) if device == "cuda" else max(1, num_cores() // asked(num_threads))

    def max_threads(self, num_threads: int | str, device: str) -> int:
        """Threads that a group may have, so that no core has two; arguments as for `places`."""
        return max(1, num_cores() // self.places(num_threads, device)) if self.is_here else asked(num_threads)

    def bytes_at_hand(self, num_threads: int | str, device: str) -> int | None:
        """Bytes that a group may use where it computes; None where only a cluster knows. Arguments as for `places`."""
        if not self.is_here:
            return None
        sharing = self.places(num_threads, device)
        if device == "cuda":
            sharing = -(-sharing // len(visible_gpus()))
        return free_bytes(device) // sharing

    @abstractmethod
    def run(self, groups: Sequence[Group], sweep_dir: Path, train: Callable[[Group], None]) -> list[str]:
        """Run groups to their ends.

        Args:
            groups: at least one, with their manifests written, none of them ended.
            sweep_dir: of the sweep.
            train: trains a group in this process.

        Returns:
            A line for each group whose process died, with the place of its output.

        Raises:
            ValueError: the executor refuses the groups, or a group cannot be trained in this process.
            FileNotFoundError: a group that is trained in this process lacks its dataset.
        """


class ProcessExecutor(Executor):
    """An executor that starts each group in a process of its own; the death of one does not stop the others.

    Class attributes:
        deals_gpus: whether this process tells each group its GPU; otherwise the package does.
    """

    has_processes = True
    deals_gpus: ClassVar[bool] = False

    @abstractmethod
    def starting(self, num_places: int, num_threads: int, sweep_dir: Path) -> AbstractContextManager[Start]:
        """The package ready to start groups, while it is entered.

        Args:
            num_places: groups that run at a time.
            num_threads: the most that a group has.
            sweep_dir: of the sweep.
        """

    def run(self, groups: Sequence[Group], sweep_dir: Path, train: Callable[[Group], None]) -> list[str]:
        """Start groups as places come free, and watch them until all have ended; as `Executor.run`."""
        num_threads, device = max(group.num_threads for group in groups), device_of(groups)
        num_places = len(groups)
        if self.is_here:  # a group that resumes may have more threads than a new one would get
            num_places = min(num_places, self.places(num_threads, device), max(1, num_cores() // num_threads))
        log.info("%d groups, %d at a time, threads: %d each", len(groups), num_places, num_threads)
        gpus = visible_gpus() if self.deals_gpus and device == "cuda" else [""]
        with self.starting(num_places, num_threads, sweep_dir) as start:
            return supervise(groups, start, num_places, gpus)


def asked(num_threads: int | str) -> int:
    """Cores that a group in a process of its own asks for."""
    return LONE_THREADS if num_threads == AUTO else int(num_threads)


def device_of(groups: Sequence[Group]) -> str:
    """The kind of device, cpu or cuda, that limits how many of the groups run at a time."""
    return "cuda" if any(group.device == "cuda" for group in groups) else "cpu"
