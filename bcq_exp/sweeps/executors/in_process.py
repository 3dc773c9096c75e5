"""Groups one after the other in the sweep's own process."""

from collections.abc import Callable, Sequence
from pathlib import Path

from bcq_exp.sweeps.executors.form import Executor
from bcq_exp.sweeps.group import Group


class InProcess(Executor):
    """Trains group after group in this process, with all of its cores."""

    has_processes = False

    def check_options(self) -> None:
        """Nothing: there is no package that has options."""

    def places(self, num_threads: int | str, device: str) -> int:
        """One: the groups take turns."""
        return 1

    def run(self, groups: Sequence[Group], sweep_dir: Path, train: Callable[[Group], None]) -> list[str]:
        """Train each group; as `Executor.run`. No process can die that is not this one."""
        for group in groups:
            train(group)
        return []
