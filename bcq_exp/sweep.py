"""A sweep: jobs grouped into populations, run group by group, and taken up again where it was stopped."""

import csv
import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bcq_exp.algorithms import REGISTRY
from bcq_exp.checkpoint import latest_checkpoints
from bcq_exp.config import digest
from bcq_exp.experiment import Job, build
from bcq_exp.manifest import source_digest
from bcq_exp.report import present
from bcq_exp.trainer import read_json, write_json

ACCOUNT = "sweep.json"
OWN_KEYS = frozenset({"seed", "optimizer.lr", "optimizer.weight_decay"})  # what members may differ in, besides swept

log = logging.getLogger(__name__)


def run(jobs: Sequence[Job], sweep_dir: Path, *, max_members: int, batch: int) -> list[dict[str, Any]]:
    """Run every job that has not ended; jobs that differ in numbers only train together.

    The sweep's directory holds `sweep.json`: the code it was begun with, and the groups of jobs of each batch. The same
    call goes on where a stopped one was: ended groups are not run again, the others continue from their last
    checkpoints, with the same members in the same order.

    Args:
        jobs: all of the batch, checked.
        sweep_dir: of the sweep; the jobs' directories lie in it.
        max_members: size at which a group is split.
        batch: number of the batch's first job in the sweep; a sweeper that learns from results asks for several.

    Returns:
        The summary of each job.

    Raises:
        ValueError: the directory holds a sweep of other jobs or of other code, or a dataset cannot be used.
        FileNotFoundError: there is no such dataset.
    """
    grouped = groups(jobs, max_members)
    named = [[{"run": job.run_dir.name, "config": digest(job.resolved)} for job in group] for group in grouped]
    account: dict[str, Any] = {"source_sha256": source_digest(), "batches": {str(batch): named}}
    if (sweep_dir / ACCOUNT).exists():
        begun = read_json(sweep_dir / ACCOUNT)
        check_unchanged(begun, account, sweep_dir)
        account["batches"] = begun["batches"] | account["batches"]
    summaries: dict[Path, dict[str, Any]] = {}
    for number, group in enumerate(grouped):
        paths = [job.run_dir / "summary.json" for job in group]
        if all(path.exists() for path in paths):
            log.info("group %d of %d has ended before: %d runs", number + 1, len(grouped), len(group))
        else:
            _say_what_is_done(number, len(grouped), group)
            trainer = build(group)
            write_json(sweep_dir / ACCOUNT, account)
            trainer.run()
        summaries |= {job.run_dir: read_json(path) for job, path in zip(group, paths, strict=True)}
    found = [summaries[job.run_dir] for job in jobs]
    write_csv(sweep_dir / "sweep.csv", found)
    present([sweep_dir])
    return found


def _say_what_is_done(number: int, num_groups: int, group: Sequence[Job]) -> None:
    done = latest_checkpoints([job.run_dir for job in group])
    where = f", from {done[0].name}" if done else ""
    cfg = group[0].cfg
    log.info(
        "group %d of %d: %s on %s, %d members%s",
        number + 1,
        num_groups,
        cfg.algorithm.name,
        cfg.dataset.name,
        len(group),
        where,
    )


def groups(jobs: Sequence[Job], max_members: int) -> list[list[Job]]:
    """Jobs that can share one program, in the order of their first members; none has more than `max_members`."""
    found: dict[str, list[list[Job]]] = {}
    for job in jobs:
        parts = found.setdefault(program(job), [[]])
        if len(parts[-1]) == max_members:
            parts.append([])
        parts[-1].append(job)
    return [part for parts in found.values() for part in parts]


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


def check_unchanged(begun: Mapping[str, Any], now: Mapping[str, Any], sweep_dir: Path) -> None:
    """Raise ValueError where a sweep was begun with other jobs or other code."""
    changed = []
    if any(now["batches"][batch] != begun["batches"].get(batch, now["batches"][batch]) for batch in now["batches"]):
        changed.append("its configuration has changed")
    if now["source_sha256"] != begun["source_sha256"]:
        changed.append("the code has changed")
    if changed:
        raise ValueError(
            f"{sweep_dir} holds a sweep that cannot go on: {' and '.join(changed)} since it began; "
            "resume=false puts it aside and begins anew"
        )


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
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=list(dict.fromkeys(key for summary in ranked for key in summary)))
        writer.writeheader()
        writer.writerows({**summary, "overrides": " ".join(summary["overrides"])} for summary in ranked)
