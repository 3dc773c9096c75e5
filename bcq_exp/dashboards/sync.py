"""Upload runs to Weights & Biases, each row once.

Every run below the directories is uploaded, whatever its logger, also one that was killed. What W&B has is not sent
again, so the command can be stopped, killed and repeated. A run that is being trained is left for later.
"""

import argparse
import os
import sys
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

from rich import box, progress
from rich.console import Console
from rich.table import Table

from bcq_exp.dashboards.upload import NoAnswer, OfflineRun, Server, upload
from bcq_exp.io.endings import first_line
from bcq_exp.io.loggers.wandb_artifact import RunArtifact
from bcq_exp.io.progress import terminal
from bcq_exp.training.directories import MANIFEST
from bcq_exp.training.logged import InTraining, write_wandb_file

SYNCED, THERE, TRAINING, FAILED = "synced", "already there", "in training", "failed"
EXAMPLES = ("outputs/sweeps", "outputs/2026-01-31/12-00-00-bcq-pendulum-noisy", "outputs --jobs 8")
MOST_AT_ONCE = 4  # uploads; one is a process that starts for most of a second


@dataclass(frozen=True)
class Outcome:
    """What became of a run: one of the words above, and the reason of a failure."""

    run_dir: Path
    kind: str
    reason: str = ""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the directories, how many runs are uploaded at a time, and whether their artifacts are uploaded."""
    parser.add_argument("directories", nargs="+", type=Path, metavar="DIR", help="a run, a sweep, or a folder of these")
    parser.add_argument(
        "--jobs", type=int, metavar="N", default=min(MOST_AT_ONCE, os.cpu_count() or 1), help="uploads at a time"
    )
    parser.add_argument(
        "--artifacts", action="store_true", help="also the policies of runs that did not ask for it (logger.artifacts)"
    )


def run(options: argparse.Namespace) -> int:
    """Upload the runs and print a table of them.

    Returns:
        1 where a run failed, else 0.

    Raises:
        ValueError: there is no run, nobody is logged in, or the server does not answer.
    """
    run_dirs = find_runs(options.directories)
    if options.jobs < 1:
        raise ValueError(f"--jobs {options.jobs}: give 1 or more")
    server = Server()
    outcomes = sync(run_dirs, server, options.jobs, with_artifacts=options.artifacts)
    Console().print(table(outcomes))
    for address in sorted(server.projects):
        print(address)
    return int(any(outcome.kind == FAILED for outcome in outcomes))


def find_runs(directories: Sequence[Path]) -> list[Path]:
    """The run directories that are, or are below, the directories, sorted.

    Raises:
        ValueError: a directory is not there, or there is no run.
    """
    if missing := [str(directory) for directory in directories if not directory.is_dir()]:
        raise ValueError(f"no such directory: {', '.join(missing)}")
    found = {path.parent for directory in directories for path in directory.rglob(MANIFEST)}
    run_dirs = sorted(path for path in found if (path / "metrics.csv").exists())
    if not run_dirs:
        raise ValueError(f"no run below {', '.join(map(str, directories))}: a run has {MANIFEST} and metrics.csv")
    return run_dirs


def sync(run_dirs: Sequence[Path], server: Server, num_at_once: int, *, with_artifacts: bool) -> list[Outcome]:
    """Upload runs; when the server does not answer any more, those that are left fail at once.

    Args:
        run_dirs: their directories.
        server: W&B's.
        num_at_once: uploads at a time.
        with_artifacts: whether the artifacts of runs without `logger.artifacts=true` are uploaded, too.

    Returns:
        What became of each, in the order of `run_dirs`.
    """
    console, outcomes = terminal(), {}
    is_down: list[str] = []

    def one(run_dir: Path) -> Outcome:
        try:
            if is_down:
                raise NoAnswer(is_down[0])
            return _sync_one(run_dir, server, with_artifacts)
        except NoAnswer as error:
            is_down.append(str(error))
            return Outcome(run_dir, FAILED, str(error))
        except (ValueError, OSError) as error:
            return Outcome(run_dir, FAILED, first_line(error))

    with (
        ThreadPoolExecutor(num_at_once) as pool,
        progress.Progress(
            progress.TextColumn("{task.description}", markup=False),
            progress.BarColumn(),
            progress.MofNCompleteColumn(),
            progress.TimeRemainingColumn(),
            console=console,
            disable=console is None,
        ) as bar,
    ):
        task = bar.add_task("uploading", total=len(run_dirs))
        try:
            for future in as_completed([pool.submit(one, run_dir) for run_dir in run_dirs]):
                outcome = future.result()
                outcomes[outcome.run_dir] = outcome
                bar.update(task, advance=1, description=_counts(list(outcomes.values())))
                if console is None:
                    print(f"{len(outcomes)} of {len(run_dirs)}: {outcome.run_dir}: {outcome.kind}", file=sys.stderr)
        except BaseException:
            server.is_left.set()
            pool.shutdown(cancel_futures=True)
            raise
    return [outcomes[run_dir] for run_dir in run_dirs]


def _sync_one(run_dir: Path, server: Server, with_artifacts: bool) -> Outcome:
    try:
        written = write_wandb_file(run_dir)
    except InTraining:
        return Outcome(run_dir, TRAINING)
    (path,) = written.folder.glob("*.wandb")
    offline, artifact, lacking = OfflineRun.read(path), None, None
    if written.has_artifact or with_artifacts:
        try:
            artifact = RunArtifact.due(written.run, offline.run_id)
        except (ValueError, OSError) as error:  # the rows are uploaded all the same
            lacking = error
    is_new = upload(offline, server, artifact)
    if lacking is not None:
        raise lacking
    return Outcome(run_dir, SYNCED if is_new else THERE)


def _counts(outcomes: Sequence[Outcome]) -> str:
    numbers = Counter(outcome.kind for outcome in outcomes)
    return ", ".join(f"{numbers[kind]} {kind}" for kind in (SYNCED, THERE, TRAINING, FAILED) if numbers[kind])


def table(outcomes: Sequence[Outcome]) -> Table:
    """The counts, and a row a run that is not there."""
    table = Table(title=_counts(outcomes), box=box.SIMPLE_HEAD, show_header=False)
    for _ in ("run", "kind", "reason"):
        table.add_column(overflow="fold")
    for outcome in outcomes:
        if outcome.kind in (FAILED, TRAINING):
            table.add_row(str(outcome.run_dir), outcome.kind, outcome.reason)
    return table
