"""A sweep: jobs grouped into populations, run group by group, and taken up again where it was stopped."""

import csv
import json
import logging
import shutil
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from bcq_exp.algorithms import REGISTRY
from bcq_exp.config import digest
from bcq_exp.data import Transitions, check_against
from bcq_exp.executors import run_groups
from bcq_exp.experiment import Job, load_transitions
from bcq_exp.files import read_json, replacing, write_json
from bcq_exp.group import FOLDER, Group, describe, name_of, train
from bcq_exp.launch import Launch
from bcq_exp.manifest import source_digest
from bcq_exp.memory import need
from bcq_exp.report import present
from bcq_exp.summary import has_ended, read_summary

ACCOUNT = "sweep.json"
OWN_KEYS = frozenset({"seed", "optimizer.lr", "optimizer.weight_decay"})  # what members may differ in, besides swept

log = logging.getLogger(__name__)


class GroupsDied(RuntimeError):
    """Some groups of a sweep ended before their time; what the others made lies in the sweep's directory."""


def run(jobs: Sequence[Job], sweep_dir: Path, launch: Launch, *, batch: int) -> list[dict[str, Any]]:
    """Run every job that has not ended; jobs that differ in numbers only train together.

    The sweep's directory holds `sweep.json`, the code that it was begun with and the groups of each batch, and a
    manifest for each group. The same jobs, in any order, go on where stopped ones were: ended groups are not run again,
    the others continue from their last checkpoints as their manifests say.

    Args:
        jobs: all of the batch, checked.
        sweep_dir: of the sweep; the jobs' directories lie in it.
        launch: where groups run, and how large they may be.
        batch: number of the batch's first job in the sweep; a sweeper that learns from results asks for several.

    Returns:
        The summary of each job.

    Raises:
        ValueError: the directory holds a sweep of other jobs or of other code, or a dataset cannot be used.
        FileNotFoundError: there is no such dataset.
        GroupsDied: processes of groups have ended before their time; all others have run.
    """
    sweep_dir = sweep_dir.absolute()
    by_name = named(jobs, sweep_dir)
    begun = begun_groups(sweep_dir, batch, by_name)
    found = begun or plan(list(by_name.values()), sweep_dir, launch)
    if not begun:
        begin(found, sweep_dir, batch)
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
            forget(sweep_dir)
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


def begun_groups(sweep_dir: Path, batch: int, jobs: Mapping[str, Job]) -> list[Group]:
    """The groups that the batch began with; none if it has not begun.

    Raises:
        ValueError: the sweep was begun with other code, or the batch with other jobs than these, by directory.
    """
    if not (sweep_dir / ACCOUNT).exists():
        return []
    account, changed = read_json(sweep_dir / ACCOUNT, "resume=false puts the sweep aside and begins anew"), []
    found: list[Group] = []
    if account["source_sha256"] != source_digest():
        changed.append("the code has changed")
    else:
        found = [Group.read(sweep_dir / name) for name in account["batches"].get(str(batch), [])]
        begun = {name: known for group in found for name, known in group.runs.items()}
        if found and begun != {name: digest(job.resolved) for name, job in jobs.items()}:
            changed.append("its configuration has changed")
    if changed:
        raise ValueError(
            f"{sweep_dir} holds a sweep that cannot go on: {changed[0]} since it began; "
            "resume=false puts it aside and begins anew"
        )
    return found


def begin(groups: Sequence[Group], sweep_dir: Path, batch: int) -> None:
    """Write down what a batch begins with."""
    for group in groups:
        group.write()
    path = sweep_dir / ACCOUNT
    batches = read_json(path)["batches"] if path.exists() else {}
    batches[str(batch)] = [group.path.relative_to(sweep_dir).as_posix() for group in groups]
    write_json(path, {"source_sha256": source_digest(), "batches": batches})


def forget(sweep_dir: Path) -> None:
    """Remove what `begin` wrote, where no run has come to its own manifest."""
    if not any(sweep_dir.rglob("manifest.json")):
        (sweep_dir / ACCOUNT).unlink()
        shutil.rmtree(sweep_dir / FOLDER)


def plan(jobs: Sequence[Job], sweep_dir: Path, launch: Launch) -> list[Group]:
    """The groups that a batch begins with; their datasets are read and checked, and nothing is written.

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
    dataset, transitions = None, None
    for members in groups(jobs):
        cfg, device = members[0].cfg, members[0].resolved["device"]
        if launch.executor != "inprocess" and device not in ("cpu", "cuda"):
            raise ValueError(
                f"device={device}: hydra.launcher.executor={launch.executor} deals the GPUs itself; give device=cuda"
            )
        if transitions is None or members[0].resolved["dataset"] != dataset:
            dataset, transitions = members[0].resolved["dataset"], load_transitions(cfg.dataset)
        checked = check_against(transitions, cfg.observation_space, cfg.action_space, cfg.schedule.batch_size)
        size = launch.max_members or len(members)
        at_hand = launch.bytes_at_hand(cfg.schedule.num_threads, device)
        if at_hand is not None and min(size, len(members)) > 1:
            size = min(size, fitting(members, checked, at_hand))
        max_threads = launch.max_threads(cfg.schedule.num_threads, device)
        found += [Group.of(part, sweep_dir, max_threads=max_threads) for part in split(members, size)]
    return found


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


def flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested keys joined by dots."""
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        flat |= flatten(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return flat


def put_aside(sweep_dir: Path) -> None:
    """Move what an earlier sweep left in its directory to a directory beside it."""
    if not (sweep_dir / ACCOUNT).exists():
        return
    number = 1
    while (aside := sweep_dir.with_name(f"{sweep_dir.name}-aside-{number}")).exists():
        number += 1
    aside.mkdir()
    for path in sweep_dir.iterdir():
        path.rename(aside / path.name)
    log.info("what %s held lies in %s", sweep_dir, aside)


def write_csv(path: Path, summaries: Sequence[Mapping[str, Any]]) -> None:
    """A row a run, the best final return first; runs without one come last."""
    ranked = sorted(summaries, key=lambda s: (s["final_return"] is None, -(s["final_return"] or 0.0)))
    with replacing(path) as partial, partial.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=list(dict.fromkeys(key for summary in ranked for key in summary)))
        writer.writeheader()
        writer.writerows({**summary, "overrides": " ".join(summary["overrides"])} for summary in ranked)
