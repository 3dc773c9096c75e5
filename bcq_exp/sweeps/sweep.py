"""A sweep: runs its groups one by one or by an executor, and resumes where it was stopped."""

import csv
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from filelock import FileLock

from bcq_exp.analysis.report import FILES, present
from bcq_exp.io.differences import NOT_SET, refusal
from bcq_exp.io.files import read_json, replacing, write_json
from bcq_exp.io.loggers.wandb_file import FOLDER as LINKS
from bcq_exp.io.masking import masked_words
from bcq_exp.io.summary import final_figure, has_ended, read_summary
from bcq_exp.sweeps.executors import EXECUTORS
from bcq_exp.sweeps.group import FOLDER, Group, describe, name_of, train_group
from bcq_exp.sweeps.grouping import plan
from bcq_exp.sweeps.launch import Launch
from bcq_exp.training.config import digest
from bcq_exp.training.directories import ACCOUNT, MANIFEST, check_vacant_or_same, make_new, read_manifest, remove_empty
from bcq_exp.training.identity import Identity
from bcq_exp.training.job import SWEEP_REMEDY, Job
from bcq_exp.training.saved import saved_overrides
from bcq_exp.training.trainer import Stopping

START_LOCK = f"{FOLDER}/start.lock"
EXECUTORS_FOLDERS = {kind.folder for kind in EXECUTORS.values() if kind.folder}
WRITERS = 8  # threads that write jobs' directories: each file waits for the disk, which takes many at a time
OURS = (ACCOUNT, "sweep.csv", *FILES, LINKS, *EXECUTORS_FOLDERS, FOLDER)  # written beside the runs

Pruning = Callable[[Sequence[Path]], Stopping]
"""Chooses members of a group that end early, from the directories of its runs."""

log = logging.getLogger(__name__)


class GroupsDied(RuntimeError):
    """Processes of some groups died; the results of the others are in the sweep's directory."""


def run(
    jobs: Sequence[Job],
    sweep_dir: Path,
    launch: Launch,
    *,
    batch: int,
    pruning: Pruning | None = None,
    is_reported: bool = True,
) -> list[dict[str, Any]]:
    """Run every job that has not ended; jobs that differ in numbers only train together.

    The sweep's directory holds `sweep.json`, the groups of each batch, and a manifest for each group; each job's
    directory holds the identity of its run. The same jobs, in any order, resume: ended groups are not run again, the
    others continue from their last checkpoints. Nothing is written before all data have been read and checked.

    Args:
        jobs: all of the batch, checked.
        sweep_dir: of the sweep; the jobs' directories lie in it.
        launch: where groups run, and how large they may be.
        batch: number of the batch's first job in the sweep; a sweeper that learns from results asks for several.
        pruning: chooses members that end early, in groups of this process; None where all train to the end.
        is_reported: print the tables of all runs of the directory, and draw their curves.

    Returns:
        The summary of each job.

    Raises:
        ValueError: the directory holds another sweep, or a dataset cannot be used.
        FileNotFoundError: there is no such dataset.
        GroupsDied: processes of groups have died; all others have run.
    """
    sweep_dir = sweep_dir.absolute()
    by_name = named(jobs, sweep_dir)
    planned, identities = plan(list(by_name.values()), sweep_dir, launch)
    groups, made = begin(planned, by_name, identities, sweep_dir, batch)
    waiting = []
    for number, group in enumerate(groups, start=1):
        if group.has_ended():
            log.info("group %d of %d has ended before: %d runs", number, len(groups), len(group.runs))
        else:
            waiting.append(group)

    def train(group: Group) -> None:
        members = [by_name[name] for name in group.runs]
        log.info("group %d of %d: %s", groups.index(group) + 1, len(groups), describe(members))
        try:
            train_group(group, members, pruning(group.run_dirs) if pruning else None)
        except (ValueError, FileNotFoundError):
            if not any((job.run_dir / "metrics.csv").exists() for job in jobs):
                undo(made)
            raise

    died = launch.chosen.run(waiting, sweep_dir, train) if waiting else []
    summaries = {job.run_dir: read_summary(job.run_dir) for job in jobs if has_ended(job.run_dir)}
    if summaries:
        write_csv(sweep_dir / "sweep.csv", list(summaries.values()))
        if is_reported:
            present([sweep_dir])
    if died:
        raise GroupsDied("\n".join([f"{len(died)} of {len(groups)} groups died; the same command goes on", *died]))
    return [summaries[job.run_dir] for job in jobs]


def named(jobs: Sequence[Job], sweep_dir: Path) -> dict[str, Job]:
    """The jobs by the names of their directories; raises ValueError where two different ones have the same."""
    by_name: dict[str, Job] = {}
    for job in jobs:
        twin = by_name.setdefault(name_of(job, sweep_dir), job)
        if digest(twin.resolved) != digest(job.resolved):
            raise ValueError(f"two different runs have the directory {job.run_dir}; hydra.sweep.subdir must name each")
    return by_name


def begin(
    planned: Sequence[Group],
    jobs: Mapping[str, Job],
    identities: Mapping[str, Identity],
    sweep_dir: Path,
    batch: int,
) -> tuple[list[Group], list[Path]]:
    """Write the groups of a batch, or read those that it began with before.

    Args:
        planned: its groups, if it begins now.
        jobs: by name.
        identities: of the jobs, by name.
        sweep_dir: of the sweep, absolute.
        batch: as for `run`.

    Returns:
        The groups, those of the batch's first start where it has begun; and the files that this call made, for `undo`.

    Raises:
        ValueError: the batch began with other jobs than these, or a directory is not vacant.
    """
    begun_groups(jobs, identities, sweep_dir, batch)  # a refusal leaves the directory as it is
    made = [path for path in [sweep_dir / ACCOUNT, sweep_dir / START_LOCK] if not path.exists()]
    with starting(sweep_dir):
        begun = begun_groups(jobs, identities, sweep_dir, batch)
        made += [path for group in planned for path in (group.path, group.lock_path) if not path.exists()]
        with ThreadPoolExecutor(WRITERS) as writers:
            for paths in writers.map(lambda name: write_job(jobs[name], identities[name]), jobs):
                made += paths
        threads = {name: group.num_threads for group in planned for name in group.runs}
        groups = [replace(group, num_threads=threads[group.runs[0]]) for group in begun] or list(planned)
        for group in groups:
            group.write()
        account = read_account(sweep_dir)
        account["batches"][str(batch)] = [group.path.relative_to(sweep_dir).as_posix() for group in groups]
        write_json(sweep_dir / ACCOUNT, account)
    return groups, made


def write_job(job: Job, identity: Identity) -> list[Path]:
    """Write a job's configuration, and its manifest where there is none; returns the files of a job that begins."""
    if is_new := not (job.run_dir / MANIFEST).exists():
        job.run_dir.mkdir(parents=True, exist_ok=True)
        write_json(job.run_dir / MANIFEST, identity.account())
    paths = job.kept.write(job.run_dir)
    return [job.run_dir / MANIFEST, *paths] if is_new else []


def begun_groups(
    jobs: Mapping[str, Job], identities: Mapping[str, Identity], sweep_dir: Path, batch: int
) -> list[Group]:
    """The groups that a batch began with; none if it has not begun. Arguments and errors as for `begin`."""
    names = read_account(sweep_dir)["batches"].get(str(batch), [])
    begun = [Group.read(sweep_dir / name) for name in names]
    if begun and {name for group in begun for name in group.runs} != jobs.keys():
        raise refusal({sweep_dir: changes(begun, jobs, identities)}, SWEEP_REMEDY)
    check_vacant_or_same(
        {jobs[name].run_dir: identity for name, identity in identities.items()},
        allow_code_change=all(job.cfg.schedule.allow_code_change for job in jobs.values()),
        remedy=SWEEP_REMEDY,
    )
    return begun


def read_account(sweep_dir: Path) -> dict[str, Any]:
    """The content of `sweep.json`: the manifests of each batch's groups, by the number of its first job."""
    path = sweep_dir / ACCOUNT
    account = read_json(path, SWEEP_REMEDY) if path.exists() else {"batches": {}}
    if not isinstance(account.get("batches"), dict):
        raise ValueError(
            f"{path} lacks the batches of its sweep, so it was damaged or is of an earlier version; {SWEEP_REMEDY}"
        )
    return account


@contextmanager
def starting(sweep_dir: Path) -> Iterator[None]:
    """Hold the lock of a sweep's start: other processes that start one in the same directory wait."""
    (sweep_dir / FOLDER).mkdir(parents=True, exist_ok=True)
    with FileLock(sweep_dir / START_LOCK):
        yield


def changes(begun: Sequence[Group], jobs: Mapping[str, Job], identities: Mapping[str, Identity]) -> list[str]:
    """What differs from the groups that have begun: a line for each key whose set of values, over all runs, does.

    Where none does, keys that change no result do, and the words that were typed are given. Groups whose runs' folders
    are gone say no more than their runs' names.
    """
    names = [name for group in begun for name in group.runs]
    run_dirs = [run_dir for group in begun for run_dir in group.run_dirs]
    manifests = {run_dir: known for run_dir in run_dirs if (known := read_manifest(run_dir))}
    if not manifests:
        return [f"runs: {', '.join(names)} before, whose folders are gone", f"runs: {', '.join(jobs)} now"]
    before = [Identity.kept(known, run_dir / MANIFEST).config for run_dir, known in manifests.items()]
    now = [identity.config for identity in identities.values()]
    lines = []
    for key in dict.fromkeys(key for config in (*before, *now) for key in config):
        old, new = (list(dict.fromkeys(str(c.get(key, NOT_SET)) for c in configs)) for configs in (before, now))
        if set(old) != set(new):
            lines.append(f"{key}: {', '.join(old)} before, {', '.join(new)} now")
    if not lines:
        old = list(dict.fromkeys(word for run_dir in manifests for word in saved_overrides(run_dir)))
        new = list(dict.fromkeys(word for job in jobs.values() for word in masked_words(job.overrides)))
        if set(old) != set(new):
            lines = [f"typed: {' '.join(old)} before, {' '.join(new)} now"]
    if gone := len(run_dirs) - len(manifests):
        lines.append(f"the folders of {gone} of its {len(run_dirs)} runs are gone")
    return lines or ["the same values in other combinations"]


def undo(made: Sequence[Path]) -> None:
    """Remove files that this process made, and folders that become empty."""
    for path in made:
        path.unlink(missing_ok=True)
    remove_empty(dict.fromkeys(folder for path in made for folder in path.parents[:2]))


def put_aside(sweep_dir: Path, others: Sequence[str] = ()) -> None:
    """Move the files of an earlier sweep, and nothing else, to a new directory beside its own.

    Args:
        sweep_dir: of the sweep.
        others: names of files that its sweeper wrote there, the one that it wrote first in front.
    """
    if not any((sweep_dir / name).exists() for name in (ACCOUNT, *others[:1])):
        return
    with starting(sweep_dir):
        runs = [path.parent.relative_to(sweep_dir).as_posix() for path in sorted(sweep_dir.rglob(MANIFEST))]
        aside = make_new(sweep_dir.with_name(f"{sweep_dir.name}-aside"))
        for name in (*OURS, *others, *runs):
            if (sweep_dir / name).exists():
                (aside / name).parent.mkdir(parents=True, exist_ok=True)
                (sweep_dir / name).rename(aside / name)
    log.info("the earlier sweep of %s is now in %s", sweep_dir, aside)


def write_csv(path: Path, summaries: Sequence[Mapping[str, Any]]) -> None:
    """A row a run, the best final return first, or final estimate where runs have no environment; those without either
    come last.
    """

    def rank(summary: Mapping[str, Any]) -> tuple[bool, float]:
        found = final_figure(summary)
        return found is None, 0.0 if found is None else -found[1]

    ranked = sorted(summaries, key=rank)
    with replacing(path) as partial, partial.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=list(dict.fromkeys(key for summary in ranked for key in summary)))
        writer.writeheader()
        writer.writerows({**summary, "overrides": " ".join(summary["overrides"])} for summary in ranked)
