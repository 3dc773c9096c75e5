"""Runs read back from Weights & Biases by its public API."""

import logging
import os
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bcq_exp.io.files import read_json
from bcq_exp.io.loggers.wandb import is_logged_in
from bcq_exp.io.loggers.wandb_file import KEPT
from bcq_exp.io.progress import Board

if TYPE_CHECKING:
    import wandb

PAGE = 100  # runs that are asked for at a time
STEPS = 100_000  # updates whose rows are asked for at a time; the client's own 1,000 would ask once for each few rows
NAMED = 20  # groups that an error names
# Seconds and tries for which W&B's client waits; its own would take a quarter of an hour. Typed variables win.
LIMITS = {
    f"WANDB__{what}_{limit}": str(value)
    for what in ("GRAPHQL", "FILE_STREAM", "FILE_TRANSFER")
    for limit, value in (
        ("TIMEOUT_SECONDS", 20),
        ("RETRY_MAX", 2),
        ("RETRY_WAIT_MIN_SECONDS", 1),
        ("RETRY_WAIT_MAX_SECONDS", 4),
    )
}

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class WandbRun:
    """A run as W&B has it.

    Args:
        path: `ENTITY/PROJECT/ID`.
        name: the name shown.
        state: running, finished, failed, crashed or killed.
        group: its group.
        summary: its final figures.
        evaluations: (update, mean return) of each evaluation, in their order.
    """

    path: str
    name: str
    state: str
    group: str
    summary: dict[str, Any]
    evaluations: list[tuple[int, float]]

    @property
    def run_id(self) -> str:
        """The last part of its path."""
        return self.path.rpartition("/")[2]


def kept_run_id(run_dir: Path) -> str | None:
    """W&B's id of the run of a directory; None where it has no W&B run. Raises ValueError where the file is damaged."""
    path = run_dir / KEPT
    return read_json(path, "remove it, and the run begins anew in W&B").get("run_id") if path.exists() else None


def set_limits() -> None:
    """Give W&B's own process, which this one waits for at its end, the limits of `LIMITS`."""
    for key, value in LIMITS.items():
        os.environ.setdefault(key, value)


@contextmanager
def asking(what: str) -> Iterator[None]:
    """Turn what W&B's client raises in the block into one line that says what was asked of it.

    Raises:
        ValueError: the server cannot be reached, or refuses.
    """
    import wandb  # takes a second
    from wandb.sdk.lib.service.service_connection import WandbApiFailedError

    try:
        yield
    except (wandb.Error, WandbApiFailedError) as error:
        line = " ".join(str(error).split()) or type(error).__name__
        raise ValueError(f"W&B: {what}: {line} Is the network up, and are login and names right?") from None


def public_api(what: str) -> "wandb.Api":
    """W&B's public API.

    Args:
        what: the reason for asking, for errors.

    Raises:
        ValueError: nobody is logged in, or the server cannot be reached or refuses the key.
    """
    set_limits()
    import wandb  # takes a second

    if not is_logged_in():
        raise ValueError(f"W&B: {what}: nobody is logged in; `wandb login` or WANDB_API_KEY logs in")
    with asking(what):
        return wandb.Api()


def read_runs(entity: str, project: str, groups: Collection[str]) -> list[WandbRun]:
    """Read all runs of some groups, the oldest first, with every evaluation; shows its progress.

    Raises:
        ValueError: nobody is logged in, the server cannot be reached, or there is no such project, or no run in one of
            the groups.
    """
    where = f"{entity}/{project}"
    what = f"reading {where} group={','.join(groups)}"
    with asking(what), Board(period=10) as board:
        board.show(what)
        api = public_api(what)
        found = api.runs(where, filters={"group": {"$in": [*groups]}}, per_page=PAGE, lazy=False)
        try:
            total = len(found)
        except ValueError:
            raise ValueError(f"W&B: there is no project {where}, or this user may not see it") from None
        runs = []
        for number, run in enumerate(found, 1):
            board.show(f"{where}: {number} of {total} runs")
            runs.append(_read(run))
        if lacking := sorted({*groups} - {run.group for run in runs}):
            raise ValueError(f"W&B: no run of {where} is in group {', '.join(lacking)}; {_groups(api, where)}")
    return runs


def _read(run: Any) -> WandbRun:
    """A run with its history, of which W&B's `history()` would give a sample of 500 rows."""
    rows = run.scan_history(keys=["update", "eval/return"], page_size=STEPS)
    evaluations = sorted((int(row["update"]), float(row["eval/return"])) for row in rows)
    path = "/".join(run.path)
    return WandbRun(path, run.name, run.state, run.group or "", dict(run.summary), evaluations)


def _groups(api: "wandb.Api", where: str) -> str:
    """The groups of the newest runs in words."""
    newest = api.runs(where, order="-created_at", per_page=PAGE)
    names = {run.group: None for run, _ in zip(newest, range(PAGE), strict=False) if run.group}
    return f"groups of its newest runs: {', '.join([*names][:NAMED])}" if names else "its newest runs have no groups"
