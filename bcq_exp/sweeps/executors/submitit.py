"""Groups as jobs of submitit: processes on this machine, or tasks of SLURM."""

import tempfile
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

from bcq_exp.io.interruption import not_of_the_keyboard
from bcq_exp.sweeps.executors.form import ProcessExecutor, asked, device_of
from bcq_exp.sweeps.executors.resources import thread_limits
from bcq_exp.sweeps.executors.supervision import Start
from bcq_exp.sweeps.group import Group, run_group

MAX_REQUEUES = 1000  # of a group whose time is over, as it goes on where it was; submitit's own limit is 3
YEAR = 365 * 24 * 60  # minutes; submitit's own limit on a local machine is 2


class GroupProcess:
    """The function that a process of submitit runs."""

    def __call__(self, manifest: str, gpu: str) -> None:
        """Run a group; see `run_group`."""
        run_group(manifest, gpu)

    def checkpoint(self, manifest: str, gpu: str) -> Any:
        """The job to run when SLURM starts it again, for submitit: the same, which resumes from its checkpoints."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self, manifest, gpu)


class SubmititGroup:
    """A group as a job of submitit."""

    def __init__(self, job: Any) -> None:
        self.job = job

    def state(self) -> str | None:
        """The state that submitit, and SLURM behind it, report."""
        return None if self.job.done() else str(self.job.state).lower()

    def where(self) -> str:
        """The file of the process's errors."""
        return str(self.job.paths.stderr)

    def cancel(self) -> None:
        """Have the process end when its group is saved.

        On this machine submitit's own `cancel` would kill it after a second; SLURM waits for its KillWait. submitit has
        no public name for the local process; where it has moved, its own `cancel` serves.
        """
        if (process := getattr(self.job, "_process", None)) is not None:
            process.terminate()  # submitit forwards the signal to the group's process
        else:
            self.job.cancel(check=False)


class Submitit(ProcessExecutor):
    """An executor by submitit; `options` are of its `update_parameters`.

    Class attributes:
        cluster: submitit's name of where the jobs run.
    """

    package = "submitit"
    folder = "submitit"
    cluster: ClassVar[str]

    def check_options(self) -> None:
        """Raise ValueError where submitit refuses an option, or finds no SLURM."""
        try:
            with tempfile.TemporaryDirectory() as folder:
                self.configured(Path(folder), num_threads=1, num_gpus=0)
        except (AssertionError, NameError, RuntimeError, TypeError, ValueError) as error:
            raise self.refusal(error) from None

    @abstractmethod
    def parameters(self, num_threads: int, num_gpus: int) -> dict[str, Any]:
        """submitit's parameters; those of the user override ours. Arguments as for `configured`."""

    def configured(self, folder: Path, *, num_threads: int, num_gpus: int) -> Any:
        """submitit's executor with all parameters.

        Args:
            folder: where submitit keeps its files.
            num_threads: cores of a group.
            num_gpus: of a group, on a cluster.
        """
        import submitit

        executor = submitit.AutoExecutor(folder, cluster=self.cluster, slurm_max_num_timeout=MAX_REQUEUES)
        executor.update_parameters(**self.parameters(num_threads, num_gpus))
        return executor

    @contextmanager
    def starting(self, num_places: int, num_threads: int, sweep_dir: Path) -> Iterator[Start]:
        """Nothing to begin or to end; arguments as for `ProcessExecutor.starting`."""
        yield partial(self.start, sweep_dir / self.folder)

    def start(self, folder: Path, groups: Sequence[Group], gpus: Sequence[str]) -> list[SubmititGroup]:
        """Start groups: on SLURM one array, with a task a group.

        Args:
            folder: where submitit keeps its files.
            groups: these.
            gpus: the one that each shall see, or an empty word.

        Raises:
            ValueError: SLURM refuses them.
        """
        from submitit.core.utils import FailedJobError, environment_variables

        num_threads, num_gpus = max(group.num_threads for group in groups), int(device_of(groups) == "cuda")
        executor = self.configured(folder, num_threads=num_threads, num_gpus=num_gpus)
        try:
            with environment_variables(**thread_limits(num_threads)), not_of_the_keyboard():
                jobs = executor.map_array(GroupProcess(), [str(group.path) for group in groups], gpus)
        except FailedJobError as error:
            raise self.refusal(error) from None
        return [SubmititGroup(job) for job in jobs]


class SubmititLocal(Submitit):
    """Processes on this machine."""

    cluster = "local"
    deals_gpus = True

    def parameters(self, num_threads: int, num_gpus: int) -> dict[str, Any]:
        """No limit of time but the user's."""
        return {"timeout_min": YEAR, **self.options}


class SubmititSlurm(Submitit):
    """Tasks of one SLURM array; what a group gets is what the options ask for."""

    cluster = "slurm"

    @property
    def is_here(self) -> bool:
        """False: SLURM decides where."""
        return False

    def check_options(self) -> None:
        """Raise ValueError where submitit refuses an option or finds no SLURM, or there is no limit of time."""
        super().check_options()
        if not {"timeout_min", "slurm_time"} & self.options.keys():
            raise self.refusal("hydra.launcher.options lacks timeout_min, the minutes after which SLURM ends a group")

    def parameters(self, num_threads: int, num_gpus: int) -> dict[str, Any]:
        """A group's cores, GPU and limits of threads, and how many run at a time."""
        exports = [f"export {name}={value}" for name, value in thread_limits(num_threads).items()]
        ours = {
            "name": "bcq_exp",
            "cpus_per_task": num_threads,
            "gpus_per_node": num_gpus or None,
            "slurm_array_parallelism": self.num_processes,
        }
        return {**ours, **self.options, "slurm_setup": [*exports, *self.options.get("slurm_setup", [])]}

    def max_threads(self, num_threads: int | str, device: str) -> int:
        """Cores that are asked of SLURM; arguments as for `places`."""
        cpus: int = self.options.get("slurm_cpus_per_task") or self.options.get("cpus_per_task") or asked(num_threads)
        return cpus

    def bytes_at_hand(self, num_threads: int | str, device: str) -> int | None:
        """Memory that is asked of SLURM; None on a GPU, or where nothing is asked. Arguments as for `places`."""
        gigabytes = self.options.get("slurm_mem_gb") or self.options.get("mem_gb")
        return int(gigabytes * 2**30) if gigabytes and device == "cpu" else None
