"""The keys of `hydra.launcher`, and each group's share of this machine: cores, memory, GPUs."""

import importlib.util
import inspect
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from bcq_exp.sweeps.memory import free_bytes

PACKAGES = {"inprocess": None, "submitit_local": "submitit", "submitit_slurm": "submitit", "ray": "ray"}
YEAR = 365 * 24 * 60  # minutes; submitit's own limit on a local machine is 2


@dataclass(frozen=True)
class Launch:
    """The keys of `hydra.launcher`.

    Args:
        executor: one of `PACKAGES`.
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
        if not isinstance(self.executor, str) or self.executor not in PACKAGES:
            raise ValueError(f"{chosen} is none of {', '.join(PACKAGES)}")
        if not isinstance(self.options, Mapping) or not all(isinstance(key, str) for key in self.options):
            raise ValueError(f"hydra.launcher.options={self.options} is no mapping, like {{timeout_min: 60}}")
        for key in ("max_members", "num_processes"):
            value = getattr(self, key)
            if value is not None and type(value) is not int:
                raise ValueError(f"hydra.launcher.{key}={value} is no integer; null leaves it to the machine")
            if value is not None and value < 1:
                raise ValueError(f"hydra.launcher.{key}={value} is below 1; null leaves it to the machine")
        if self.executor == "inprocess" and (self.num_processes is not None or self.options):
            raise ValueError(
                f"{chosen} runs group after group in this process: drop hydra.launcher.num_processes and"
                f" hydra.launcher.options, or choose one of {', '.join(list(PACKAGES)[1:])}"
            )
        package = PACKAGES[self.executor]
        if package and importlib.util.find_spec(package) is None:
            raise ValueError(f"{chosen} needs {package}: pip install 'bcq_exp[{package}]'")
        if self.is_here and (self.num_processes or 0) > num_cores():
            raise ValueError(
                f"hydra.launcher.num_processes={self.num_processes}: allowed are 1 to {num_cores()}, the cores of this"
                " machine"
            )
        try:
            self._check_options()
        except (AssertionError, NameError, RuntimeError, TypeError, ValueError) as error:
            raise ValueError(f"{chosen}: {error}") from None

    def _check_options(self) -> None:
        if self.executor.startswith("submitit"):
            with tempfile.TemporaryDirectory() as folder:
                self.submitit_executor(Path(folder), num_threads=1, num_gpus=0)
        if self.executor == "submitit_slurm" and not {"timeout_min", "slurm_time"} & self.options.keys():
            raise ValueError("hydra.launcher.options lacks timeout_min, the minutes after which SLURM ends a group")
        if self.executor == "ray":
            import ray

            known = [name for name, p in inspect.signature(ray.init).parameters.items() if p.kind != p.VAR_KEYWORD]
            if unknown := self.options.keys() - known:
                raise ValueError(f"ray.init does not take {', '.join(unknown)}; it takes {', '.join(known)}")

    def submitit_executor(self, folder: Path, *, num_threads: int, num_gpus: int) -> Any:
        """submitit's executor with all options; those of the user override ours.

        Args:
            folder: where submitit keeps its files.
            num_threads: cores of a group.
            num_gpus: of a group, on a cluster.
        """
        import submitit

        if self.executor == "submitit_local":
            executor = submitit.AutoExecutor(folder, cluster="local")
            executor.update_parameters(**{"timeout_min": YEAR, **self.options})
            return executor
        executor = submitit.AutoExecutor(folder, cluster="slurm")
        exports = [f"export {name}={value}" for name, value in thread_limits(num_threads).items()]
        ours = {
            "name": "bcq_exp",
            "cpus_per_task": num_threads,
            "gpus_per_node": num_gpus or None,
            "slurm_array_parallelism": self.num_processes,
        }
        setup = [*exports, *self.options.get("slurm_setup", [])]
        executor.update_parameters(**{**ours, **self.options, "slurm_setup": setup})
        return executor

    @property
    def is_here(self) -> bool:
        """Whether the groups run on this machine."""
        return self.executor != "submitit_slurm" and "address" not in self.options

    def places(self, num_threads: int, device: str) -> int:
        """Groups that run at a time on this machine.

        Args:
            num_threads: that a group asks for.
            device: where it computes.
        """
        if self.executor == "inprocess":
            return 1
        if self.num_processes is not None:
            return self.num_processes
        return len(visible_gpus()) if device == "cuda" else max(1, num_cores() // num_threads)

    def max_threads(self, num_threads: int, device: str) -> int:
        """Threads that a group may have, so that no core has two; arguments as for `places`."""
        if self.is_here:
            return max(1, num_cores() // self.places(num_threads, device))
        cpus: int = self.options.get("slurm_cpus_per_task") or self.options.get("cpus_per_task") or num_threads
        return cpus

    def bytes_at_hand(self, num_threads: int, device: str) -> int | None:
        """Bytes that a group may use where it computes; None where only a cluster knows. Arguments as for `places`."""
        if self.is_here:
            sharing = self.places(num_threads, device)
            if device == "cuda" and self.executor != "inprocess":
                sharing = -(-sharing // len(visible_gpus()))
            return free_bytes(device) // sharing
        gigabytes = self.options.get("slurm_mem_gb") or self.options.get("mem_gb")
        return int(gigabytes * 2**30) if gigabytes and device == "cpu" else None


def num_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def visible_gpus() -> list[str]:
    """The GPUs that this process sees, as `CUDA_VISIBLE_DEVICES` names them."""
    num_gpus = torch.cuda.device_count()
    named = [name for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name]
    return named[:num_gpus] if named else [str(index) for index in range(num_gpus)]


def thread_limits(num_threads: int) -> dict[str, str]:
    """Environment variables that limit a process to `num_threads`; libraries read them as they are loaded."""
    return dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "TORCHINDUCTOR_COMPILE_THREADS"), str(num_threads))
