"""D4RL's datasets (arXiv:2004.07219) without its package: names, reference scores, files and rules."""

import csv
import difflib
import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from bcq_exp.data.columns import Array, typed
from bcq_exp.data.downloads import check_sha256, fetch
from bcq_exp.data.formats import hdf5, layouts
from bcq_exp.data.schema import DatasetConfig, required_text
from bcq_exp.data.steps import actions_after, episode_sums
from bcq_exp.data.storage import taken
from bcq_exp.data.transitions import Transitions
from bcq_exp.fields import within

BASE_URL = "http://rail.eecs.berkeley.edu/datasets/offline_rl/"

log = logging.getLogger(__name__)


class CatalogueEntry(NamedTuple):
    """A dataset of D4RL: `file` is its place below BASE_URL; None stands for what is not known.

    `env` is the Gymnasium environment of the same body, spaces and rewards; D4RL recorded in older versions of it.
    """

    env: str | None
    ref_min: float | None
    ref_max: float | None
    max_episode_steps: int | None
    file: str


@cache
def catalogue() -> dict[str, CatalogueEntry]:
    """All datasets of D4RL by their names."""
    with Path(__file__).with_name("d4rl_datasets.csv").open(encoding="utf-8", newline="") as file:
        return {
            row["id"]: CatalogueEntry(
                env=row["env"] or None,
                ref_min=float(row["ref_min"]) if row["ref_min"] else None,
                ref_max=float(row["ref_max"]) if row["ref_max"] else None,
                max_episode_steps=int(row["max_episode_steps"]) if row["max_episode_steps"] else None,
                file=row["file"],
            )
            for row in csv.DictReader(file)
        }


def catalogue_entry(dataset_id: str) -> CatalogueEntry:
    """The entry of one dataset.

    Raises:
        ValueError: D4RL has no dataset of this name.
    """
    if dataset_id not in catalogue():
        near = difflib.get_close_matches(dataset_id, catalogue(), n=4)
        raise ValueError(f"dataset.id={dataset_id} is no dataset of D4RL; {_nearest(near)}")
    return catalogue()[dataset_id]


def _nearest(near: Sequence[str]) -> str:
    return f"closest names: {', '.join(near)}" if near else "names look like hopper-medium-v2"


@dataclass(kw_only=True)
class D4RLDatasetConfig(DatasetConfig):
    """A dataset of D4RL by its name; `env` and references that are null are those of its `CatalogueEntry`."""

    id: str
    path: str | None
    terminate_on_end: bool
    max_episode_steps: int | None = within(2)

    @classmethod
    def facts(cls, section: Mapping[str, Any]) -> dict[str, Any]:
        """See `CatalogueEntry`."""
        known = catalogue_entry(required_text(section, "id", "hopper-medium-v2"))
        return {"env": known.env, "ref_min": known.ref_min, "ref_max": known.ref_max}

    def fetch(self) -> None:
        """See `_files`; a file that `path` names is not looked for."""
        if self.path is None:
            _files(catalogue_entry(self.id))

    def read(self, *, allow_code_change: bool = False) -> Transitions:
        """See `load_d4rl`."""
        return load_d4rl(
            self.id, self.path, terminate_on_end=self.terminate_on_end, max_episode_steps=self.max_episode_steps
        )


def d4rl_folder() -> Path:
    """The folder of D4RL's files: $D4RL_DATASET_DIR, else ~/.d4rl/datasets."""
    return Path(os.environ.get("D4RL_DATASET_DIR") or Path.home() / ".d4rl" / "datasets")


def load_d4rl(
    dataset_id: str, path: str | None, *, terminate_on_end: bool, max_episode_steps: int | None
) -> Transitions:
    """Read a dataset by its name, from D4RL's folder; it is downloaded first where it is not there.

    A medium-expert dataset whose file is missing is put together from the medium and the expert one, in this order,
    where both are there.

    Args:
        dataset_id: its name in D4RL, such as hopper-medium-v2.
        path: a file to read in place of the one in D4RL's folder.
        terminate_on_end: see `read_d4rl`.
        max_episode_steps: see `read_d4rl`; None takes D4RL's own, where it is known.

    Raises:
        FileNotFoundError: `path` is given and there is no such file.
        ValueError: as `catalogue_entry`, `fetch` and `read_d4rl`, or a file is not as it was downloaded.
    """
    known = catalogue_entry(dataset_id)
    paths = [Path(path)] if path is not None else _files(known)
    for each in paths:
        check_sha256(each)
    return _read(paths, terminate_on_end, max_episode_steps or known.max_episode_steps)


def _files(known: CatalogueEntry) -> list[Path]:
    """The file of a dataset, or those of its parts, each in D4RL's folder; downloaded where missing."""
    whole = d4rl_folder() / Path(known.file).name
    parts = [whole.with_name(whole.name.replace("medium_expert", part)) for part in ("medium", "expert")]
    if not whole.exists() and "medium_expert" in whole.name and all(part.exists() for part in parts):
        log.info("%s is not there; its parts %s and %s are read instead", whole, *(part.name for part in parts))
        return parts
    fetch(BASE_URL + known.file, whole)
    return [whole]


def read_d4rl(path: str | Path, *, terminate_on_end: bool, max_episode_steps: int | None) -> Transitions:
    """Read and check a file by the rules of D4RL's `qlearning_dataset`.

    The next observation of a row is the next row's observation, even where the file has `next_observations`; the last
    row of the file has none and is dropped. `terminals` become `terminated`. A row at a time limit, where `timeouts` is
    set, is dropped, even if it is terminal, and the row before it becomes `truncated`; its action is that row's next
    one, as in the readers that have next actions.

    A file without `timeouts` has a time limit where a count of rows reaches `max_episode_steps`. As in D4RL, the count
    restarts from 0 after a dropped row, and from 1 after a kept row that ended an episode.

    Groups such as `infos` and `metadata` are not read, except masks of available actions.

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
    """The rows of several files as one recording; no episode continues from one file to the next."""
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
        act_next=actions_after(whole["act"], rows, terminated[rows]),
        episode_returns=episode_sums(rew, ends),
        source=source,
        rows=rows,
        keys=layouts.D4RL.names,
    )


def _columns(path: Path, terminate_on_end: bool, max_episode_steps: int | None) -> dict[str, Array]:
    """The checked columns of one file; its `timeouts` are `ends`."""
    source = str(path)
    keys = layouts.keys(layouts.D4RL, hdf5.names(path), source)
    used = {name: key for name, key in keys.items() if name not in ("obs_next", "mask_next")}
    columns = typed(layouts.renamed(hdf5.read_datasets(path, used.values()), used), source, used)
    if "ends" in columns:
        return columns
    if max_episode_steps is None:
        raise ValueError(
            f"{source}: missing dataset timeouts, so that nothing says where time limits are; give "
            "dataset.max_episode_steps=N, the length of its environment's time limit"
        )
    return columns | {"ends": _time_limits(columns["terminated"], max_episode_steps, terminate_on_end)}


def _time_limits(terminals: Array, max_episode_steps: int, terminate_on_end: bool) -> Array:
    """Whether D4RL's count of rows reaches the time limit at a row, (N,) bool."""
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
