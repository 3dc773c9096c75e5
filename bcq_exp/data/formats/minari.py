"""Datasets of Minari, from its local root or a folder; the library `minari` reads them."""

import logging
import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np

from bcq_exp.data.columns import Array, as_flag, as_obs, check_lengths, typed
from bcq_exp.data.formats.file_format import FileFormat, refuse_limit
from bcq_exp.data.formats.hdf5 import check_file
from bcq_exp.data.schema import DatasetConfig, text_of
from bcq_exp.data.storage import check_memory
from bcq_exp.data.transitions import Transitions
from bcq_exp.envs.environments import foreign_module
from bcq_exp.envs.observations import MASK, flat_space, flatten
from bcq_exp.fields import file_name
from bcq_exp.io.files import json_object

DAMAGED = (
    OSError,
    ValueError,
    KeyError,
    IndexError,
    TypeError,
    AttributeError,
    AssertionError,
    ImportError,
    RuntimeError,
    MemoryError,
    gym.error.Error,
)

KEYS = {"obs": "observations", "act": "actions", "rew": "rewards", "terminated": "terminations", "ends": "truncations"}
INFOS = (MASK, f"{MASK}s")  # what masks are called among an episode's infos
ID = re.compile(r"[\w.-]+(/[\w.-]+)*")

log = logging.getLogger(__name__)


@dataclass(kw_only=True)
class MinariDatasetConfig(DatasetConfig):
    """A dataset of Minari, by its id or its folder; `env` and references that are null are those of its metadata."""

    id: str | None
    path: str | None

    @classmethod
    def facts(cls, section: Mapping[str, Any]) -> dict[str, Any]:
        """See `read_facts`."""
        return read_facts(minari_folder(text_of(section, "id"), text_of(section, "path")))

    def read(self, *, allow_code_change: bool = False) -> Transitions:
        """See `read_minari`."""
        return read_minari(minari_folder(self.id, self.path))


class Minari(FileFormat):
    """Folders that Minari writes."""

    title = "Minari"
    content = "a folder with data/main_data.hdf5 and data/metadata.json"
    note = "masks: infos/action_mask, or the part action_mask of Dict observations"

    def matches(self, path: Path, head: bytes) -> bool:
        """Whether it is a folder."""
        return path.is_dir()

    def read(self, path: Path, max_episode_steps: int | None) -> Transitions:
        """See `read_minari`."""
        refuse_limit(path, max_episode_steps)
        return read_minari(path)

    def env(self, path: Path) -> str | None:
        """The one of `read_facts`."""
        env: str | None = read_facts(path)["env"]
        return env


def minari_name(id_: str | None, path: str | None) -> str:
    """A name for run directories, where the slashes of an id would be folders."""
    return file_name(str(id_ or path).strip("/"))


def minari_folder(dataset_id: str | None, path: str | None) -> Path:
    """The folder of a dataset: `path`, or where Minari keeps `dataset_id`.

    Args:
        dataset_id: such as D4RL/door/human-v2, below $MINARI_DATASETS_PATH, else below ~/.minari/datasets.
        path: a folder that holds the dataset; None takes the one of `dataset_id`.

    Raises:
        ValueError: neither is given, or the id would leave Minari's folder.
    """
    if path is not None:
        return Path(path)
    if dataset_id is None:
        raise ValueError("dataset.id and dataset.path are null; give the dataset's id or its folder")
    if ID.fullmatch(dataset_id) is None or ".." in dataset_id.split("/"):
        raise ValueError(f"dataset.id={dataset_id!r} is no id of Minari, such as D4RL/door/human-v2; give dataset.path")
    root = os.environ.get("MINARI_DATASETS_PATH") or Path.home() / ".minari" / "datasets"
    return Path(root) / dataset_id


def read_facts(folder: Path) -> dict[str, Any]:
    """Read `env`, `ref_min` and `ref_max` of the environment that policies are evaluated in from the metadata.

    None stands for what they do not say. The id is well formed; ask `foreign_module` before the environment is made.

    Raises:
        FileNotFoundError: there is no such dataset.
        ValueError: its metadata are damaged.
    """
    metadata = _metadata(folder)
    env = _env_spec(metadata, folder).get("id")
    ref_min, ref_max = metadata.get("ref_min_score"), metadata.get("ref_max_score")
    path = _data(folder) / "metadata.json"
    if not all(value is None or type(value) in (int, float) for value in (ref_min, ref_max)):
        raise ValueError(f"{path}: ref_min_score={ref_min!r} and ref_max_score={ref_max!r} are not both numbers")
    try:
        foreign_module(env or "none")
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    return {"env": env or None, "ref_min": ref_min, "ref_max": ref_max}


def read_minari(path: str | Path) -> Transitions:
    """Read and check a dataset that lies in a folder.

    Observations are flattened by `flatten`. An episode of Minari has one observation more than steps, so that every
    step is a transition; an episode that ends without a flag is truncated there. Masks of available actions are the
    part `action_mask` of Dict observations or of the infos, with one row more than steps, too.

    Raises:
        FileNotFoundError: if there is no such dataset.
        ValueError: if `minari` is missing, or the dataset is damaged, of a kind that is not supported or holds bad
            values, naming the folder, the episode's key and the first bad row.
    """
    folder = Path(path)
    source, metadata = str(path), _metadata(folder)
    try:
        from minari import MinariDataset
    except ModuleNotFoundError as error:
        raise ValueError(f"{source}: reading it needs {error.name}: pip install 'bcq_exp[minari]'") from None
    if changed := _arguments(_env_spec(metadata, folder)):
        log.warning("%s: its environment has the arguments %s; policies are evaluated without", path, changed)
    for key in ("observation_space", "action_space"):
        if not isinstance(metadata.get(key), str):  # minari would make the environment, code of the dataset's choice
            raise ValueError(f"{_data(folder) / 'metadata.json'}: {key} is missing; write it with Minari 0.5 or later")
    try:
        if (main := _data(folder) / "main_data.hdf5").exists():
            check_file(main)
        dataset = MinariDataset(_data(folder))
        episodes = list(dataset.iterate_episodes())
    except DAMAGED as error:
        raise ValueError(f"{source}: not a readable Minari dataset, truncated or damaged ({error})") from None
    if not episodes:
        raise ValueError(f"{source}: no episodes; at least one is needed")
    spaces = dataset.observation_space, dataset.action_space
    columns = [_episode(episode, *spaces, source) for episode in episodes]
    kinds = {(*each, each["obs"].dtype, each["obs"].shape[1:], each["act"].shape[1:]) for each in columns}
    if len(kinds) > 1:
        raise ValueError(f"{source}: observations or actions differ between episodes in type or shape: {kinds}")
    joined: dict[str, Any] = {key: np.concatenate([episode[key] for episode in columns]) for key in columns[0]}
    keys = {name: f"{key} (of all episodes in turn)" for name, key in KEYS.items()}
    return Transitions.from_typed(joined, source, keys)


def _episode(
    episode: Any, observation_space: gym.Space[Any], action_space: gym.Space[Any], source: str
) -> dict[str, Array]:
    """The columns of one episode in the types of `typed`."""
    prefix = f"episode_{episode.id}"
    if not isinstance(action_space, gym.spaces.Discrete | gym.spaces.Box):
        raise ValueError(f"{source}: action space {action_space} is not supported; allowed: Discrete or Box")
    keys = {name: f"{prefix}/{key}" for name, key in KEYS.items()}
    steps = {name: np.asarray(getattr(episode, key)) for name, key in KEYS.items() if name != "obs"}
    columns = typed(steps, source, keys, is_discrete=isinstance(action_space, gym.spaces.Discrete))
    try:
        if isinstance(flat := flat_space(observation_space), gym.spaces.Box):
            check_memory((len(columns["rew"]) + 1) * math.prod(flat.shape) * flat.dtype.itemsize)
        raw = flatten(observation_space, episode.observations)
    except ValueError as error:
        raise ValueError(f"{source}: {keys['obs']}, from row 0 on: {error}") from None
    obs, num_steps = as_obs(raw, keys["obs"], source), len(columns["rew"])
    if len(obs) != num_steps + 1:
        raise ValueError(
            f"{source}: {keys['obs']} has {len(obs)} rows, {keys['rew']} has {num_steps}; "
            "there must be one observation more than there are steps"
        )
    columns |= {"obs": obs[:-1], "obs_next": obs[1:]}
    if (mask := _mask(episode, prefix, source)) is not None:
        columns["mask"] = mask[:num_steps]
        if len(mask) == num_steps + 1:
            columns["mask_next"] = mask[1:]
        else:
            check_lengths({keys["rew"]: columns["rew"], f"{prefix}/{MASK}": mask}, source)
    columns["ends"][-1] = True
    return columns


def _mask(episode: Any, prefix: str, source: str) -> Array | None:
    """An episode's masks of available actions, (T + 1, A) or (T, A) bool, if it has any."""
    parts = {"observations": episode.observations, "infos": episode.infos}
    for name, part in parts.items():
        for key in INFOS if isinstance(part, Mapping) else ():
            if key in part and (name == "infos" or key == MASK):
                return as_flag(np.asarray(part[key]), f"{prefix}/{name}/{key}", source, (2,), "(T + 1, A)")
    return None


def _data(folder: Path) -> Path:
    """The folder with the data, which lies in that of the dataset."""
    return folder / "data" if (folder / "data").is_dir() else folder


def _metadata(folder: Path) -> dict[str, Any]:
    """The content of a dataset's `metadata.json`; raises like `read_facts`."""
    path = _data(folder) / "metadata.json"
    try:
        text = path.read_text(encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError):
        raise FileNotFoundError(
            f"{folder}: no Minari dataset; fetch it with `minari download ID` (pip install 'bcq_exp[minari]'), or name"
            " its folder with dataset.path"
        ) from None
    except (OSError, ValueError) as error:
        raise ValueError(f"{path}: not readable, truncated or damaged ({error})") from None
    if (metadata := json_object(text)) is None:
        raise ValueError(f"{path}: not a JSON object, truncated or damaged")
    return metadata


def _env_spec(metadata: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The environment for evaluation, else the one of the recording, as Gymnasium writes it; empty where neither is."""
    spec = json_object(metadata.get("eval_env_spec") or metadata.get("env_spec") or "{}")
    if spec is None or not isinstance(spec.get("id") or "", str):
        raise ValueError(f"{_data(folder) / 'metadata.json'}: env_spec is no JSON object with an id in a string")
    return spec


def _arguments(spec: dict[str, Any]) -> dict[str, Any]:
    """The arguments of an environment that are not those of its registered id."""
    registered, given = gym.registry.get(spec.get("id", "")), spec.get("kwargs")
    usual = registered.kwargs if registered else {}
    return {key: value for key, value in given.items() if usual.get(key) != value} if isinstance(given, dict) else {}
