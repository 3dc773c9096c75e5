"""Jobs grouped into populations: those that can share one program, in parts that fit into memory."""

import json
import logging
import re
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

from bcq_exp.algorithms import REGISTRY
from bcq_exp.data import Transitions
from bcq_exp.engine.machine import num_threads_of
from bcq_exp.io.differences import flatten
from bcq_exp.sweeps.group import Group, name_of
from bcq_exp.sweeps.launch import Launch
from bcq_exp.sweeps.memory import need
from bcq_exp.training.datasets import load_parts
from bcq_exp.training.directories import most_runs
from bcq_exp.training.experiment import checked_parts
from bcq_exp.training.identity import Identity
from bcq_exp.training.job import Job

# Members may differ in these, and in swept.
MEMBERS_OWN = re.compile(r"seed|(optimizer|algorithm\.optimizers\.\w+)\.(lr|weight_decay)")

log = logging.getLogger(__name__)


def plan(jobs: Sequence[Job], sweep_dir: Path, launch: Launch) -> tuple[list[Group], dict[str, Identity]]:
    """Plan the groups of a batch. Datasets are read and checked, nothing is written.

    A group with more members than `max_members`, than fit into memory, or than a process can have files open for, is
    split into parts that differ in size by one at most.

    Args:
        jobs: all of the batch.
        sweep_dir: of the sweep, absolute.
        launch: how large a group may be.

    Returns:
        The groups, and the identity of each run by its name.

    Raises:
        ValueError: a dataset cannot be used, or an executor is to use a device that it cannot deal.
        FileNotFoundError: there is no such dataset.
    """
    planned: dict[int, list[Group]] = {}
    identities: dict[str, Identity] = {}
    dataset, parts, digests = None, None, dict[bool, str]()
    for number, members in by_dataset(groups(jobs)):
        cfg, device = members[0].cfg, members[0].resolved["device"]
        if launch.chosen.has_processes and device not in ("cpu", "cuda"):
            raise ValueError(
                f"device={device}: hydra.launcher.executor={launch.executor} deals the GPUs itself; give device=cuda"
            )
        if parts is None or members[0].resolved["dataset"] != dataset:
            dataset = members[0].resolved["dataset"]
            parts = load_parts(cfg.dataset, allow_code_change=cfg.schedule.allow_code_change)
            digests = {}
        checked = checked_parts(cfg, parts)
        is_judged = checked.judged is not None
        sha256 = digests[is_judged] = digests.get(is_judged) or checked.sha256
        identities |= {name_of(job, sweep_dir): job.identity(sha256) for job in members}
        size = min(launch.max_members or len(members), most_runs())
        at_hand = launch.chosen.bytes_at_hand(cfg.schedule.num_threads, device)
        max_threads = launch.chosen.max_threads(cfg.schedule.num_threads, device)
        if at_hand is not None and min(size, len(members)) > 1:
            size = min(size, fitting(members, checked.learned, at_hand, max_threads))
        planned[number] = [Group.of(part, sweep_dir, max_threads=max_threads) for part in split(members, size)]
    return [group for _, parts in sorted(planned.items()) for group in parts], identities


def fitting(members: Sequence[Job], transitions: Transitions, at_hand: int, max_threads: int) -> int:
    """How many of the members fit into `at_hand` bytes, with that many threads; logs it where not all do."""
    cfg = members[0].cfg
    is_threaded = cfg.schedule.device == "cpu"  # elsewhere all members are updated by one call
    num_threads = num_threads_of(cfg.schedule.num_threads, len(members), max_threads) if is_threaded else 1
    needed = need(cfg, transitions, num_threads)
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
    """The jobs by program, in the order of their first members."""
    by_program: dict[str, list[Job]] = {}
    for job in jobs:
        by_program.setdefault(program(job), []).append(job)
    return list(by_program.values())


def by_dataset(programs: Sequence[list[Job]]) -> list[tuple[int, list[Job]]]:
    """The programs with their numbers, those of one dataset together, so that each dataset is read and hashed once."""
    datasets = [json.dumps(members[0].resolved["dataset"]) for members in programs]
    return sorted(enumerate(programs), key=lambda program: datasets.index(datasets[program[0]]))


def split(members: Sequence[Job], size: int) -> list[Sequence[Job]]:
    """The members in order, in as few parts of at most `size` as possible; parts differ in size by one at most."""
    num_parts = -(-len(members) // size)
    small, num_large = divmod(len(members), num_parts)
    ends = [small * part + min(part, num_large) for part in range(num_parts + 1)]
    return [members[start:end] for start, end in pairwise(ends)]


def program(job: Job) -> str:
    """A job's configuration as text, without the keys that members of a population may differ in."""
    swept = {f"algorithm.{key}" for key in REGISTRY[job.cfg.algorithm.name].swept}
    flat = {
        key: value
        for key, value in flatten(job.resolved).items()
        if key not in swept and not MEMBERS_OWN.fullmatch(key)
    }
    return json.dumps({key: value for key, value in flat.items() if not key.startswith("logger.")}, sort_keys=True)
