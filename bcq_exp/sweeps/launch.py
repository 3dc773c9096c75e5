"""The keys of `hydra.launcher`, and the executor that they choose."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bcq_exp.sweeps.executors import EXECUTORS
from bcq_exp.sweeps.executors.form import Executor


@dataclass(frozen=True)
class Launch:
    """The keys of `hydra.launcher`.

    Args:
        executor: one of `EXECUTORS`.
        max_members: size beyond which a group is split; None where memory alone decides.
        num_processes: groups that run at a time; None for one a GPU, or as many as there are cores for.
        options: of submitit's `update_parameters` or of `ray.init`.

    Raises:
        ValueError: there is no such executor, its package is not installed, or it refuses an option.
    """

    executor: str
    max_members: int | None
    num_processes: int | None
    options: Mapping[str, Any]

    def __post_init__(self) -> None:
        chosen = f"hydra.launcher.executor={self.executor}"
        if not isinstance(self.executor, str) or self.executor not in EXECUTORS:
            raise ValueError(f"{chosen} is none of {', '.join(EXECUTORS)}")
        if not isinstance(self.options, Mapping) or not all(isinstance(key, str) for key in self.options):
            raise ValueError(f"hydra.launcher.options={self.options} is no mapping, like {{timeout_min: 60}}")
        for key in ("max_members", "num_processes"):
            value = getattr(self, key)
            if value is not None and type(value) is not int:
                raise ValueError(f"hydra.launcher.{key}={value} is no integer; null leaves it to the machine")
            if value is not None and value < 1:
                raise ValueError(f"hydra.launcher.{key}={value} is below 1; null leaves it to the machine")
        if not self.chosen.has_processes and (self.num_processes is not None or self.options):
            others = [name for name, kind in EXECUTORS.items() if kind.has_processes]
            raise ValueError(
                f"{chosen} runs group after group in this process: drop hydra.launcher.num_processes and"
                f" hydra.launcher.options, or choose one of {', '.join(others)}"
            )
        self.chosen.check()

    @property
    def chosen(self) -> Executor:
        """The executor, with its keys."""
        return EXECUTORS[self.executor](self.executor, self.num_processes, self.options)
