"""A sweep: jobs grouped into populations, run group by group, and taken up again where it was stopped."""

import csv
import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

from filelock import FileLock

from bcq_exp.algorithms import REGISTRY
from bcq_exp.analysis.report import present
from bcq_exp.data import Transitions, check_against
from bcq_exp.io.differences import flatten, refusal
from bcq_exp.io.files import read_json, replacing, write_json
from bcq_exp.io.summary import has_ended, read_summary
from bcq_exp.sweeps.executors import run_groups
from bcq_exp.sweeps.group import FOLDER, Group, describe, name_of, train
from bcq_exp.sweeps.launch import Launch
from bcq_exp.sweeps.memory import need
from bcq_exp.training.config import digest
from bcq_exp.training.directories import MANIFEST, check_vacant_or_same, make_new, read_manifest, remove_empty
from bcq_exp.training.experiment import load_transitions
from bcq_exp.training.identity import Identity, dataset_digest
from bcq_exp.training.job import SWEEP_REMEDY, Job

ACCOUNT = "sweep.json"
START_LOCK = f"{FOLDER}/start.lock"
OURS = (ACCOUNT, "sweep.csv", "learning_curves.png", "submitit", FOLDER)  # what a sweep writes beside its runs
OWN_KEYS = frozenset({"seed", "optimizer.lr", "optimizer.weight_decay"})  # what members may differ in, besides swept

log = logging.getLogger(__name__)


class GroupsDied(RuntimeError):
    """Some groups of a sweep ended before their time; what the others made lies in the sweep's directory."""


def run(jobs: Sequence[Job], sweep_dir: Path, launch: Launch, *, batch: int) -> list[dict[str, Any]]:
    """Run every job that has not ended; jobs that differ in numbers only train together.

    The sweep's directory holds `sweep.json`, the groups of each batch, and a manifest for each group; each job's
    directory says what its run is. The same jobs, in any order, go on where stopped ones were: ended groups are not run
    again, the others continue from their last checkpoints. Nothing is written before all data have been read and
    checked.

    Args:
        jobs: all of the batch, checked.
        sweep_dir: of the sweep; the jobs' directories lie in it.
        launch: where groups run, and how large they may be.
        batch: number of the batch's first job in the sweep; a sweeper that learns from results asks for several.

    Returns:
        The summary of each job.

    Raises:
        ValueError: the directory holds another sweep, or a dataset cannot be used.
        FileNotFoundError: there is no such dataset.
        GroupsDied: processes of groups have ended before their time; all others have run.
    """
    sweep_dir = sweep_dir.absolute()
    by_name = named(jobs, sweep_dir)
    planned, identities = plan(list(by_name.values()), sweep_dir, launch)
    found, made = begin(planned, by_name, identities, sweep_dir, batch)
    waiting = []
    for number, group in enumerate(found, start=1):
        if group.has_ended():
            log.info("group %d of %d has ended before: %d runs", number, len(found), len(group.runs))
        else:
            waiting.append(group)
    died: list[str] = []
    if launch.executor == "inprocess":
        try:
            for group in waiting:
                members = [by_name[name] for name in group.runs]
                log.info("group %d of %d: %s", found.index(group) + 1, len(found), describe(members))
                train(group, members)
        except (ValueError, FileNotFoundError):
            if not any((job.run_dir / "metrics.csv").exists() for job in jobs):
                undo(made)
            raise
    elif waiting:
        died = run_groups(waiting, launch, sweep_dir)
    summaries = {job.run_dir: read_summary(job.run_dir) for job in jobs if has_ended(job.run_dir)}
    if summaries:
        write_csv(sweep_dir / "sweep.csv", list(summaries.values()))
        present([sweep_dir])
    if died:
        raise GroupsDied("\n".join([f"{len(died)} of {len(found)} groups died; the same command goes on", *died]))
    return [summaries[job.run_dir] for job in jobs]


def named(jobs: Sequence[Job], sweep_dir: Path) -> dict[str, Job]:
    """The jobs by their directories; raises ValueError where two that differ have the same."""
    found: dict[str, Job] = {}
    for job in jobs:
        twin = found.setdefault(name_of(job, sweep_dir), job)
        if digest(twin.resolved) != digest(job.resolved):
            raise ValueError(f"two different runs have the directory {job.run_dir}; hydra.sweep.subdir must name each")
    return found


def begin(
    planned: Sequence[Group],
    jobs: Mapping[str, Job],
    identities: Mapping[str, Identity],
    sweep_dir: Path,
    batch: int,
) -> tuple[list[Group], list[Path]]:
    """Write down what a batch begins with, or find what it began with before.

    Args:
        planned: its groups, should it begin now.
        jobs: by name.
        identities: what each job is, by name.
        sweep_dir: of the sweep, absolute.
        batch: as for `run`.

    Returns:
        The groups, those of the batch's first start where it has begun; and what was made here, to be undone.

    Raises:
        ValueError: the batch began with other jobs than these, or a directory is not vacant.
    """
    begun_groups(jobs, identities, sweep_dir, batch)  # a refusal leaves the directory as it is
    made = [path for path in [sweep_dir / ACCOUNT, sweep_dir / START_LOCK] if not path.exists()]
    with starting(sweep_dir):
        begun = begun_groups(jobs, identities, sweep_dir, batch)
        made += [path for group in planned for path in (group.path, group.lock_path) if not path.exists()]
        for name, job in jobs.items():
            if not (job.run_dir / MANIFEST).exists():
                made += [job.run_dir / MANIFEST, *job.kept.files(job.run_dir)]
                job.run_dir.mkdir(parents=True, exist_ok=True)
                write_json(job.run_dir / MANIFEST, identities[name].account())
            job.kept.write(job.run_dir)
        threads = {name: group.num_threads for group in planned for name in group.runs}
        groups = [replace(group, num_threads=threads[group.runs[0]]) for group in begun] or list(planned)
        for group in groups:
            group.write()
        account = read_account(sweep_dir)
        account["batches"][str(batch)] = [group.path.relative_to(sweep_dir).as_posix() for group in groups]
        write_json(sweep_dir / ACCOUNT, account)
    return groups, made


def begun_groups(
    jobs: Mapping[str, Job], identities: Mapping[str, Identity], sweep_dir: Path, batch: int
) -> list[Group]:
    """The groups that a batch began with; none if it has not begun. Arguments and errors as for `begin`."""
    names = read_account(sweep_dir)["batches"].get(str(batch), [])
    begun = [Group.read(sweep_dir / name) for name in names]
    if begun and {name for group in begun for name in group.runs} != jobs.keys():
        raise refusal({sweep_dir: changed_values(begun, identities)}, SWEEP_REMEDY)
    check_vacant_or_same(
        {jobs[name].run_dir: identity for name, identity in identities.items()},
        allow_code_change=all(job.cfg.schedule.allow_code_change for job in jobs.values()),
        remedy=SWEEP_REMEDY,
    )
    return begun


def read_account(sweep_dir: Path) -> dict[str, Any]:
    """What `sweep.json` holds: the manifests of the groups of each batch, by the number of its first job."""
    path = sweep_dir / ACCOUNT
    account = read_json(path, SWEEP_REMEDY) if path.exists() else {"batches": {}}
    if not isinstance(account.get("batches"), dict):
        raise ValueError(
            f"{path} lacks the batches of its sweep, so it was damaged or is of an earlier version; {SWEEP_REMEDY}"
        )
    return account


@contextmanager
def starting(sweep_dir: Path) -> Iterator[None]:
    """Of several processes that begin sweeps in one directory one goes on, and the others wait for it."""
    (sweep_dir / FOLDER).mkdir(parents=True, exist_ok=True)
    with FileLock(sweep_dir / START_LOCK):
        yield


def changed_values(begun: Sequence[Group], identities: Mapping[str, Identity]) -> list[str]:
    """The keys whose values, over all runs, are others than those that groups began with, a line each."""
    manifests = [(run_dir, read_manifest(run_dir)) for group in begun for run_dir in group.run_dirs]
    before = [Identity.kept(known, run_dir / MANIFEST).config for run_dir, known in manifests if known]
    now = [identity.config for identity in identities.values()]
    lines = []
    for key in dict.fromkeys(key for config in (*before, *now) for key in config):
        old, new = (list(dict.fromkeys(str(c.get(key, "absent")) for c in configs)) for configs in (before, now))
        if set(old) != set(new):
            lines.append(f"{key}: {', '.join(old)} before, {', '.join(new)} now")
    return lines or ["the same values in other combinations"]


def undo(made: Sequence[Path]) -> None:
    """Remove files that this process made, and the folders that they leave empty."""
    for path in made:
        path.unlink(missing_ok=True)
    remove_empty(dict.fromkeys(folder for path in made for folder in path.parents[:2]))


def plan(jobs: Sequence[Job], sweep_dir: Path, launch: Launch) -> tuple[list[Group], dict[str, Identity]]:
    """The groups that a batch begins with, and what each run is; datasets are read and checked, nothing is written.

    A group is split, in equal parts, where it has more members than `max_members` or than fit into memory.

    Args:
        jobs: all of the batch.
        sweep_dir: of the sweep, absolute.
        launch: what says how large a group may be.

    Raises:
        ValueError: a dataset cannot be used, or an executor is to use a device that it cannot deal.
        FileNotFoundError: there is no such dataset.
    """
    found: list[Group] = []
    identities: dict[str, Identity] = {}
    dataset, transitions, sha256 = None, None, ""
    for members in groups(jobs):
        cfg, device = members[0].cfg, members[0].resolved["device"]
        if launch.executor != "inprocess" and device not in ("cpu", "cuda"):
            raise ValueError(
                f"device={device}: hydra.launcher.executor={launch.executor} deals the GPUs itself; give device=cuda"
            )
        if transitions is None or members[0].resolved["dataset"] != dataset:
            dataset = members[0].resolved["dataset"]
            transitions = load_transitions(cfg.dataset, allow_code_change=cfg.schedule.allow_code_change)
            sha256 = ""
        checked = check_against(transitions, cfg.observation_space, cfg.action_space, cfg.schedule.batch_size)
        sha256 = sha256 or dataset_digest(checked)
        identities |= {name_of(job, sweep_dir): job.identity(sha256) for job in members}
        size = launch.max_members or len(members)
        at_hand = launch.bytes_at_hand(cfg.schedule.num_threads, device)
        if at_hand is not None and min(size, len(members)) > 1:
            size = min(size, fitting(members, checked, at_hand))
        max_threads = launch.max_threads(cfg.schedule.num_threads, device)
        found += [Group.of(part, sweep_dir, max_threads=max_threads) for part in split(members, size)]
    return found, identities


def fitting(members: Sequence[Job], transitions: Transitions, at_hand: int) -> int:
    """How many of the members fit into so many bytes; says so where not all do."""
    needed = need(members[0].cfg, transitions)
    size = needed.largest(at_hand)
    if size < len(members):
        log.info(
            "%d members do not fit into memory and are split: a group may take %.1f GB, the dataset and a first member"
            " need %.1f GB, each other one %.1f MB",
            len(members),
            at_hand / 1e9,
            (needed.fixed + needed.member) / 1e9,
            needed.member / 1e6,
        )
    return size


def groups(jobs: Sequence[Job]) -> list[list[Job]]:
    """Jobs that can share one program, in the order of their first members."""
    found: dict[str, list[Job]] = {}
    for job in jobs:
        found.setdefault(program(job), []).append(job)
    return list(found.values())


def split(members: Sequence[Job], size: int) -> list[Sequence[Job]]:
    """The members in their order, in the fewest parts that have no more than `size`; parts differ by one at most."""
    num_parts = -(-len(members) // size)
    small, num_large = divmod(len(members), num_parts)
    ends = [small * part + min(part, num_large) for part in range(num_parts + 1)]
    return [members[start:end] for start, end in pairwise(ends)]


def program(job: Job) -> str:
    """All of a job's configuration but the numbers that members of a population may differ in."""
    swept = {f"algorithm.{key}" for key in REGISTRY[job.cfg.algorithm.name].swept}
    flat = {key: value for key, value in flatten(job.resolved).items() if key not in swept | OWN_KEYS}
    return json.dumps({key: value for key, value in flat.items() if not key.startswith("logger.")}, sort_keys=True)


def put_aside(sweep_dir: Path) -> None:
    """Move what an earlier sweep left in its directory, and nothing else, to a directory beside it."""
    if not (sweep_dir / ACCOUNT).exists():
        return
    with starting(sweep_dir):
        runs = [path.parent.relative_to(sweep_dir).as_posix() for path in sorted(sweep_dir.rglob(MANIFEST))]
        aside = make_new(sweep_dir.with_name(f"{sweep_dir.name}-aside"))
        for name in (*OURS, *runs):
            if (sweep_dir / name).exists():
                (aside / name).parent.mkdir(parents=True, exist_ok=True)
                (sweep_dir / name).rename(aside / name)
    log.info("what %s held lies in %s", sweep_dir, aside)


def write_csv(path: Path, summaries: Sequence[Mapping[str, Any]]) -> None:
    """A row a run, the best final return first; runs without one come last."""
    ranked = sorted(summaries, key=lambda s: (s["final_return"] is None, -(s["final_return"] or 0.0)))
    with replacing(path) as partial, partial.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=list(dict.fromkeys(key for summary in ranked for key in summary)))
        writer.writeheader()
        writer.writerows({**summary, "overrides": " ".join(summary["overrides"])} for summary in ranked)
