"""D4RL's datasets (arXiv:2004.07219) without its package: names, reference scores, files and rules."""

import csv
import difflib
import logging
import os
import shutil
from collections.abc import Sequence
from functools import cache
from http.client import HTTPException
from pathlib import Path
from typing import NamedTuple
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import numpy as np
from filelock import FileLock

from bcq_exp.data.columns import Array, typed
from bcq_exp.data.formats import hdf5, layouts
from bcq_exp.data.steps import episode_sums
from bcq_exp.data.storage import taken
from bcq_exp.data.transitions import Transitions
from bcq_exp.io.files import sha256, write_bytes

BASE_URL = "http://rail.eecs.berkeley.edu/datasets/offline_rl/"
TIMEOUT = 30  # seconds without a byte
CHUNK = 1 << 20

log = logging.getLogger(__name__)


class Entry(NamedTuple):
    """What is known of a dataset: `file` is its place below BASE_URL; None stands for what is not known.

    `env` is the Gymnasium environment of the same body, spaces and rewards; D4RL recorded in older versions of it.
    """

    env: str | None
    ref_min: float | None
    ref_max: float | None
    max_episode_steps: int | None
    file: str


@cache
def entries() -> dict[str, Entry]:
    """All datasets of D4RL by their names."""
    with Path(__file__).with_name("d4rl_datasets.csv").open(encoding="utf-8", newline="") as file:
        return {
            row["id"]: Entry(
                env=row["env"] or None,
                ref_min=float(row["ref_min"]) if row["ref_min"] else None,
                ref_max=float(row["ref_max"]) if row["ref_max"] else None,
                max_episode_steps=int(row["max_episode_steps"]) if row["max_episode_steps"] else None,
                file=row["file"],
            )
            for row in csv.DictReader(file)
        }


def entry(dataset_id: str) -> Entry:
    """What is known of one dataset.

    Raises:
        ValueError: D4RL has no dataset of this name.
    """
    if dataset_id not in entries():
        near = difflib.get_close_matches(dataset_id, entries(), n=4)
        raise ValueError(f"dataset.id={dataset_id} is no dataset of D4RL; {_nearest(near)}")
    return entries()[dataset_id]


def _nearest(near: Sequence[str]) -> str:
    return f"closest names: {', '.join(near)}" if near else "names look like hopper-medium-v2"


def d4rl_folder() -> Path:
    """Where D4RL keeps its files: $D4RL_DATASET_DIR, else ~/.d4rl/datasets."""
    return Path(os.environ.get("D4RL_DATASET_DIR") or Path.home() / ".d4rl" / "datasets")


def load_d4rl(
    dataset_id: str, path: str | None, *, terminate_on_end: bool, max_episode_steps: int | None
) -> Transitions:
    """Reads a dataset by its name, from D4RL's folder; downloads it first where it is not there.

    A medium-expert dataset whose file is missing is put together from the medium and the expert one, in this order,
    where both are there.

    Args:
        dataset_id: its name in D4RL, such as hopper-medium-v2.
        path: a file to read in place of the one in D4RL's folder.
        terminate_on_end: see `read_d4rl`.
        max_episode_steps: see `read_d4rl`; None takes D4RL's own, where it is known.

    Raises:
        FileNotFoundError: `path` is given and there is no such file.
        ValueError: as `entry`, `fetch` and `read_d4rl`, or a file is not as it was downloaded.
    """
    known = entry(dataset_id)
    paths = [Path(path)] if path is not None else _files(known)
    for each in paths:
        check_sha256(each)
    return _read(paths, terminate_on_end, max_episode_steps or known.max_episode_steps)


def _files(known: Entry) -> list[Path]:
    """The file of a dataset, or those of its parts, each in D4RL's folder."""
    whole = d4rl_folder() / Path(known.file).name
    parts = [whole.with_name(whole.name.replace("medium_expert", part)) for part in ("medium", "expert")]
    if not whole.exists() and "medium_expert" in whole.name and all(part.exists() for part in parts):
        log.info("%s is not there; its parts %s and %s are read instead", whole, *(part.name for part in parts))
        return parts
    fetch(BASE_URL + known.file, whole)
    return [whole]


def read_d4rl(path: str | Path, *, terminate_on_end: bool, max_episode_steps: int | None) -> Transitions:
    """Read and check a file by the rules of D4RL's `qlearning_dataset`, which holds for its own datasets, by name.

    The next observation of a row is the observation of the row behind it, also where the file has
    `next_observations`; the last row of the file has none and is dropped. `terminals` become `terminated`. A row at a
    time limit, where `timeouts` is set, is dropped, even if it is terminal, and the row before it becomes `truncated`.

    A file without `timeouts` has time limits where a count of rows reaches `max_episode_steps`. As in D4RL, the count
    begins with 0 behind a dropped row and at the beginning, but with 1 behind a row that is kept.

    Of groups such as `infos` and `metadata` only masks of available actions are read.

    Args:
        path: the file.
        terminate_on_end: keep the rows at time limits, as `terminated`. D4RL keeps them too; its documentation calls
            them terminal, but its code leaves their flag as it is in the file, so that the first observation of the
            next episode would be bootstrapped from.
        max_episode_steps: length of the time limit for a file without `timeouts`, at least 2.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is damaged or holds bad values, naming the file, the key and the first bad row.
    """
    return _read([Path(path)], terminate_on_end, max_episode_steps)


def _read(paths: Sequence[Path], terminate_on_end: bool, max_episode_steps: int | None) -> Transitions:
    """The rows of files one behind the other, none of whose episodes go on in the next."""
    source = " followed by ".join(map(str, paths))
    parts = [_columns(path, terminate_on_end, max_episode_steps) for path in paths]
    for part in parts[:-1]:
        part["ends"][-1] |= not part["terminated"][-1]
    kinds = {(*part, part["obs"].shape[1:], part["act"].dtype, part["act"].shape[1:]) for part in parts}
    if len(kinds) > 1:
        raise ValueError(f"{source}: observations or actions differ between the files in type or shape: {kinds}")
    whole = parts[0] if len(parts) == 1 else {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}
    rew, terminals, timeouts = whole["rew"], whole["terminated"], whole["ends"]
    dropped = np.zeros_like(timeouts) if terminate_on_end else timeouts.copy()
    dropped[-1] = True
    rows = np.flatnonzero(~dropped)
    if not rows.size:
        raise ValueError(f"{source}: timeouts leave no row of {len(rew)} that has a next observation; two rows needed")
    terminated = terminals | timeouts if terminate_on_end else terminals
    ends = terminals | timeouts
    ends[-1] = True
    mask = whole.get("mask")
    return Transitions(
        obs=taken(whole["obs"], rows),
        act=taken(whole["act"], rows),
        rew=rew[rows],
        terminated=terminated[rows],
        truncated=dropped[rows + 1] & ~terminated[rows],
        obs_next=taken(whole["obs"], rows + 1),
        mask=None if mask is None else taken(mask, rows),
        mask_next=None if mask is None else taken(mask, rows + 1),
        episode_returns=episode_sums(rew, ends),
        source=source,
        rows=rows,
        keys=layouts.D4RL.names,
    )


def _columns(path: Path, terminate_on_end: bool, max_episode_steps: int | None) -> dict[str, Array]:
    """The checked columns of one file, `ends`, which are its `timeouts`, among them."""
    source = str(path)
    keys = layouts.keys(layouts.D4RL, hdf5.names(path), source)
    used = {name: key for name, key in keys.items() if name not in ("obs_next", "mask_next")}
    found = typed(layouts.renamed(hdf5.read_datasets(path, used.values()), used), source, used)
    if "ends" in found:
        return found
    if max_episode_steps is None:
        raise ValueError(
            f"{source}: missing dataset timeouts, so that nothing says where time limits are; give "
            "dataset.max_episode_steps=N, the length of its environment's time limit"
        )
    return found | {"ends": _time_limits(found["terminated"], max_episode_steps, terminate_on_end)}


def _time_limits(terminals: Array, max_episode_steps: int, terminate_on_end: bool) -> Array:
    """Where D4RL's count of rows reaches the time limit, (N,) bool."""
    timeouts, terminal_rows = np.zeros_like(terminals), np.append(np.flatnonzero(terminals), len(terminals))
    row = count = 0
    while True:
        limit = row + max_episode_steps - 1 - count
        end = min(limit, int(terminal_rows[np.searchsorted(terminal_rows, row)]))
        if end >= len(terminals):
            return timeouts
        timeouts[end] = end == limit
        count = 0 if end == limit and not terminate_on_end else 1
        row = end + 1
        if row == len(terminals):
            return timeouts


def fetch(url: str, path: Path) -> None:
    """Downloads a file unless it is there; its sha256 is left beside it, in the form that `sha256sum -c` reads.

    What has come over a connection that breaks is kept in `PATH.part`, where this call, or the next, goes on.

    Raises:
        ValueError: it cannot be downloaded or written, naming the file, its address and where to put it.
    """
    if path.exists():
        return
    part = path.with_name(f"{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{path}.lock"):
            if path.exists():
                return
            log.info("downloading %s to %s", url, path)
            while not _is_whole(url, part):
                log.warning("the connection to %s broke; going on from byte %d", url, _size(part))
            write_bytes(_beside(path), f"{sha256(part)}  {path.name}\n".encode())
            part.replace(path)
    except (OSError, HTTPException) as error:
        raise ValueError(
            f"{path.name} is not in {path.parent} and could not be downloaded ({error}); fetch it from {url} where "
            f"there is a network and put it at {path}, or name the file with dataset.path=FILE"
        ) from None


def _is_whole(url: str, part: Path) -> bool:
    """Whether one connection brings what `part` lacks; raises OSError or HTTPException where it brings nothing."""
    begun = _size(part)
    request = Request(url, headers={"Range": f"bytes={begun}-"} if begun else {})
    try:
        with urlopen(request, timeout=TIMEOUT) as answer:
            goes_on = answer.status == 206
            length = answer.headers["Content-Length"]
            with part.open("ab" if goes_on else "wb") as file:
                shutil.copyfileobj(answer, file, CHUNK)
        missing = 0 if length is None else int(length) + begun * goes_on - _size(part)
        if missing <= 0:
            return True
        broken: Exception = ConnectionError(f"the connection ends {missing} bytes before the file does")
    except HTTPError as error:
        if error.code != 416 or not begun:
            raise
        part.unlink()  # it goes beyond the file's last byte, so it is no part of this file
        return False
    except (OSError, HTTPException) as error:
        broken = error
    if _size(part) > begun:
        return False
    raise broken


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _beside(path: Path) -> Path:
    return path.with_name(f"{path.name}.sha256")


def check_sha256(path: Path) -> None:
    """Raise ValueError if a file differs from the hash beside it, where there is one."""
    beside = _beside(path)
    if path.exists() and beside.exists() and beside.read_text(encoding="utf-8").split()[:1] != [sha256(path)]:
        raise ValueError(f"{path}: not as it was downloaded, by {beside.name} beside it; remove both, or put it back")
