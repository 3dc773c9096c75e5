"""Groups in processes of their own, by submitit or Ray: starts them, watches them, and reports those that die.

A process gets two plain words: the path of its group's manifest, and the GPU that it may see. Whether a group has ended
is read from its runs' directories.
"""

import logging
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any, Protocol

from bcq_exp.io.interruption import not_of_the_keyboard
from bcq_exp.io.progress import Board
from bcq_exp.sweeps.group import Group, run_group
from bcq_exp.sweeps.launch import Launch, num_cores, thread_limits, visible_gpus

PERIOD = 0.5  # seconds between two looks at the processes

log = logging.getLogger(__name__)


class StartedGroup(Protocol):
    """A group that was started."""

    def state(self) -> str | None:
        """The state of its process in a word; None when it has ended."""

    def where(self) -> str:
        """The place of the process's output, besides its group's log."""

    def cancel(self) -> None:
        """Have the process end when its group is saved; returns at once."""


Start = Callable[[Sequence[Group], Sequence[str]], Sequence[StartedGroup]]
"""Starts groups, each with the GPU that it shall see, or an empty word."""


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


def start_by_submitit(launch: Launch, folder: Path, groups: Sequence[Group], gpus: Sequence[str]) -> list[StartedGroup]:
    """Start groups as jobs of submitit: on SLURM one array, with a task a group.

    Raises:
        ValueError: SLURM refuses them.
    """
    from submitit.core.utils import FailedJobError, environment_variables

    num_threads, num_gpus = max(group.num_threads for group in groups), int(device_of(groups) == "cuda")
    executor = launch.submitit_executor(folder, num_threads=num_threads, num_gpus=num_gpus)
    try:
        with environment_variables(**thread_limits(num_threads)), not_of_the_keyboard():
            jobs = executor.map_array(GroupProcess(), [str(group.path) for group in groups], gpus)
    except FailedJobError as error:
        raise ValueError(f"hydra.launcher.executor={launch.executor}: {str(error).strip()}") from None
    return [SubmititGroup(job) for job in jobs]


class RayGroup:
    """A group as a task of Ray."""

    def __init__(self, ref: Any) -> None:
        import ray

        self.ray, self.ref = ray, ref

    def state(self) -> str | None:
        """Running or ended: Ray reports no more."""
        return None if self.ray.wait([self.ref], timeout=0)[0] else "running"

    def where(self) -> str:
        """The error that Ray reports."""
        try:
            self.ray.get(self.ref)
        except Exception as error:
            return f"Ray says: {str(error).strip().splitlines()[-1]}"
        return "Ray's logs"

    def cancel(self) -> None:
        """Have the process end when its group is saved: Ray sends it a SIGINT."""
        self.ray.cancel(self.ref, force=False)


@contextmanager
def ray_running(launch: Launch, num_places: int, num_threads: int) -> Iterator[Start]:
    """Ray on this machine, or on the cluster of `options.address`, while it is entered."""
    import ray

    here = {"num_cpus": num_places * num_threads} if launch.is_here else {}
    quiet = {"include_dashboard": False, "log_to_driver": False, "logging_level": "warning"}
    ray.init(**{**here, **quiet, **launch.options})
    gpus_each = min(1.0, ray.cluster_resources().get("GPU", 0) / num_places)

    def start(groups: Sequence[Group], gpus: Sequence[str]) -> list[StartedGroup]:
        tasks: list[StartedGroup] = []
        for group in groups:
            needs = {"num_cpus": group.num_threads, "num_gpus": gpus_each if group.device == "cuda" else 0}
            limits = {"env_vars": thread_limits(group.num_threads)}
            call = ray.remote(max_calls=1, max_retries=0, runtime_env=limits, **needs)(run_group)
            tasks.append(RayGroup(call.remote(str(group.path), "")))  # Ray itself deals the GPUs
        return tasks

    try:
        yield start
    finally:
        ray.shutdown()


def device_of(groups: Sequence[Group]) -> str:
    """The kind of device, cpu or cuda, that limits how many of the groups run at a time."""
    return "cuda" if any(group.device == "cuda" for group in groups) else "cpu"


def run_groups(groups: Sequence[Group], launch: Launch, sweep_dir: Path) -> list[str]:
    """Run groups to their ends, each in a process of its own; the death of one does not stop the others.

    Args:
        groups: with their manifests written, none of them ended.
        launch: where and how many at a time.
        sweep_dir: of the sweep.

    Returns:
        A line for each group that died, with the place of its output.

    Raises:
        ValueError: SLURM refuses them.
    """
    num_threads, device = max(group.num_threads for group in groups), device_of(groups)
    num_places = len(groups)
    if launch.is_here:  # a group that resumes may have more threads than a new one would get
        num_places = min(num_places, launch.places(num_threads, device), max(1, num_cores() // num_threads))
    log.info("%d groups, %d at a time, threads: %d each", len(groups), num_places, num_threads)
    starting = (
        ray_running(launch, num_places, num_threads)
        if launch.executor == "ray"
        else nullcontext(partial(start_by_submitit, launch, sweep_dir / "submitit"))
    )
    is_dealt = launch.executor == "submitit_local" and device == "cuda"
    with starting as start:
        return supervise(groups, start, num_places, visible_gpus() if is_dealt else [""])


def supervise(groups: Sequence[Group], start: Start, num_places: int, gpus: Sequence[str]) -> list[str]:
    """Start each group when a place is free, and watch them until the last process has ended.

    Args:
        groups: as for `run_groups`.
        start: starts some of them.
        num_places: how many at a time.
        gpus: dealt to the places in turn.

    Returns:
        As `run_groups`.
    """
    waiting = deque(range(len(groups)))
    tasks: dict[int, tuple[int, StartedGroup]] = {}  # by place: the group's number, and its process
    states, died = ["waiting"] * len(groups), list[str]()
    with Board() as board:
        try:
            while waiting or tasks:
                free = [place for place in range(num_places) if place not in tasks][: len(waiting)]
                numbers = [waiting.popleft() for _ in free]
                if numbers:
                    started = start([groups[n] for n in numbers], [gpus[place % len(gpus)] for place in free])
                    tasks |= dict(zip(free, zip(numbers, started, strict=True), strict=True))
                for place, (number, task) in list(tasks.items()):
                    states[number] = task.state() or "ended"
                    if states[number] == "ended":
                        del tasks[place]
                        if not groups[number].has_ended():
                            states[number] = "died"
                            died.append(f"group {number + 1}: see {groups[number].log_path} and {task.where()}")
                if waiting and len(tasks) < num_places:
                    continue
                board.show(facts(states))
                if tasks:
                    time.sleep(PERIOD)
        except BaseException:
            for _, task in tasks.values():
                task.cancel()
            while running := sum(task.state() is not None for _, task in tasks.values()):
                board.show(f"{running} groups are saved, then they end; a second signal leaves them to it")
                time.sleep(PERIOD)
            raise
    return died


def facts(states: Sequence[str]) -> str:
    """A line: the number of groups that have ended, and the state of each; neighbours in one state share an entry."""
    parts, first = [], 1
    for state, same in groupby(states):
        last = first + len(list(same)) - 1
        parts.append(f"{first}-{last} {state}" if last > first else f"{first} {state}")
        first = last + 1
    return f"{states.count('ended')} of {len(states)} groups ended | {', '.join(parts)}"
