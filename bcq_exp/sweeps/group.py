"""A group: runs of a sweep that train as one population. Its manifest, and the process that runs it.

SWEEP/groups/<name>.json    the manifest; beside it <name>.lock, and <name>.log of an executor's process
"""

import logging
import os
import signal
import socket
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Self

from filelock import FileLock, Timeout

from bcq_exp.engine.machine import num_threads_of
from bcq_exp.io.checkpoint import common_checkpoints
from bcq_exp.io.endings import STOPPED
from bcq_exp.io.files import read_json, refusal, write_json
from bcq_exp.io.interruption import Interrupted, watching
from bcq_exp.io.summary import has_ended
from bcq_exp.training.config import checked, digest
from bcq_exp.training.directories import check_configuration
from bcq_exp.training.experiment import build
from bcq_exp.training.job import Job
from bcq_exp.training.saved import saved_config, saved_overrides
from bcq_exp.training.sections import Answers, plain
from bcq_exp.training.trainer import Stopping

FOLDER = "groups"

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Group:
    """A group, as its first start fixes it; it resumes the same, wherever and however often.

    Args:
        sweep_dir: of the sweep, absolute.
        runs: the members' directories in the sweep's, in their order.
        num_threads: of its process.
        device: as its configurations name it.
    """

    sweep_dir: Path
    runs: Sequence[str]
    num_threads: int
    device: str

    @classmethod
    def of(cls, jobs: Sequence[Job], sweep_dir: Path, *, max_threads: int) -> Self:
        """A group that has not begun.

        Args:
            jobs: they can share one program.
            sweep_dir: of the sweep, absolute.
            max_threads: that its process may use.
        """
        schedule = jobs[0].cfg.schedule
        return cls(
            sweep_dir,
            [name_of(job, sweep_dir) for job in jobs],
            num_threads=num_threads_of(schedule.num_threads, len(jobs), max_threads),
            device=jobs[0].resolved["device"],
        )

    @classmethod
    def read(cls, path: Path) -> Self:
        """A group that has begun, from its manifest."""
        remedy = "resume=false puts the sweep aside and begins anew"
        try:
            return cls(path.parents[1], **read_json(path, remedy))
        except TypeError as error:
            raise ValueError(f"{path} was damaged after it was written ({error}); {remedy}") from None

    def write(self) -> None:
        """Write the manifest."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        content = asdict(self)
        del content["sweep_dir"]
        write_json(self.path, content)

    @property
    def path(self) -> Path:
        """Of the manifest; a function of the runs and their order."""
        return self.sweep_dir / FOLDER / f"{digest(list(self.runs))[:12]}.json"

    @property
    def lock_path(self) -> Path:
        """Held by the process that runs it."""
        return self.path.with_suffix(".lock")

    @property
    def log_path(self) -> Path:
        """The log of an executor's process."""
        return self.path.with_suffix(".log")

    @property
    def run_dirs(self) -> list[Path]:
        """The members' directories, in their order."""
        return [self.sweep_dir / name for name in self.runs]

    def has_ended(self) -> bool:
        """Whether each member has its summary, whole."""
        return all(has_ended(run_dir) for run_dir in self.run_dirs)


def name_of(job: Job, sweep_dir: Path) -> str:
    """A run's directory in its sweep's."""
    return job.run_dir.relative_to(sweep_dir).as_posix()


def train_group(group: Group, jobs: Sequence[Job], stopping: Stopping | None = None) -> None:
    """Run a group from its last checkpoints, or from its beginning, to its end.

    Where another process runs it, as one that outlived its sweep, wait for that.

    Args:
        group: with its manifest written.
        jobs: its members, in their order.
        stopping: chooses members that end early; None where all train to the end.

    Raises:
        ValueError: the dataset cannot be used, or a directory holds another run than its job.
        FileNotFoundError: there is no such dataset.
    """
    lock = FileLock(group.lock_path)
    try:
        held = lock.acquire(timeout=0)
    except Timeout:
        log.info("another process runs %s: waiting for its end", group.path)
        held = lock.acquire()
    with held:
        if not group.has_ended():
            build([_as_begun(job, group) for job in jobs], stopping).run()


def _as_begun(job: Job, group: Group) -> Job:
    """The job with its group's number of threads."""
    schedule = replace(job.cfg.schedule, num_threads=group.num_threads)
    return replace(job, cfg=replace(job.cfg, schedule=schedule))


def describe(jobs: Sequence[Job]) -> str:
    """A line for the log: algorithm, dataset, number of members, and the checkpoint to resume from."""
    done = common_checkpoints([job.run_dir for job in jobs])
    where = f", from {done[0][0].name}" if done else ""
    cfg = jobs[0].cfg
    return f"{cfg.algorithm.name} on {cfg.dataset.name}, {len(jobs)} members{where}"


def run_group(manifest: str, gpu: str) -> None:
    """Run one group in a process of its own, which knows nothing but these words.

    A signal ends it when it is saved, and is then passed to the handler that was there before: submitit's, which puts
    a job back into SLURM's queue when its time is over or its place is wanted.

    Args:
        manifest: path of the group's.
        gpu: the one that it shall see, as `CUDA_VISIBLE_DEVICES` names it; empty where this is settled.

    Raises:
        SystemExit: a signal has ended the group before its time.
        Exception: whatever else has, which is in its log as well.
    """
    if gpu:
        os.environ["CUDA_VISIBLE_DEVICES"] = gpu  # read when the first tensor is made there
    group = Group.read(Path(manifest))
    form = "%(asctime)s %(levelname)s %(message)s"
    logging.basicConfig(filename=group.log_path, level=logging.INFO, format=form, force=True)
    try:
        with watching() as watch:
            jobs = read_jobs(group)
            log.info("%s, process %d: %s", socket.gethostname(), os.getpid(), describe(jobs))
            train_group(group, jobs)
    except Interrupted as stop:
        log.info("%s", stop)
        if callable(waiting := watch.handlers[stop.signum]) and waiting is not signal.default_int_handler:
            waiting(stop.signum, None)
        raise SystemExit(STOPPED) from None
    except BaseException as error:
        line = refusal(error) if isinstance(error, OSError) else None
        log.error("the group stops here: %s", line or "", exc_info=line is None)
        raise


def read_jobs(group: Group) -> list[Job]:
    """A group's jobs, read from their directories.

    Raises:
        ValueError: a configuration is not as it was when the run began, or does not pass its check.
    """
    jobs, answers = [], Answers()
    for run_dir in group.run_dirs:
        cfg = saved_config(run_dir, allow_modules=None)  # any module: `check_configuration` holds it to the manifest
        values = plain(cfg)
        check_configuration(run_dir, values)
        typed = checked(values, answers, is_here=True)
        jobs.append(Job(typed, run_dir, values, saved_overrides(run_dir), group.sweep_dir.name))
    return jobs
