"""Datasets of Minari, from its local root or a folder; the library `minari` reads them."""

import json
import logging
import os
import re
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np

from bcq_exp.data.transitions import (
    Array,
    Transitions,
    as_act,
    as_flag,
    as_float,
    as_obs,
    check_lengths,
    episode_sums,
)
from bcq_exp.envs import foreign_module
from bcq_exp.observations import flatten

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

ID = re.compile(r"[\w.-]+(/[\w.-]+)*")

log = logging.getLogger(__name__)


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
    """What the metadata say of the environment that policies are evaluated in: `env`, `ref_min` and `ref_max`.

    What they do not say is None. The environment's id is well formed; whoever makes it asks `foreign_module` first.

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

    Observations are flattened by `flatten`. An episode of Minari holds one observation more than it has steps, so that
    every step is a transition; an episode that ends without a flag is truncated there.

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
        if not isinstance(metadata.get(key), str):  # Minari would make the environment, and import whatever it names
            raise ValueError(f"{_data(folder) / 'metadata.json'}: {key} is missing, as the JSON text of a space")
    try:
        dataset = MinariDataset(_data(folder))
        episodes = list(dataset.iterate_episodes())
    except DAMAGED as error:
        raise ValueError(f"{source}: not a readable Minari dataset, truncated or damaged ({error})") from None
    if not episodes:
        raise ValueError(f"{source}: no episodes; at least one is needed")
    spaces = dataset.observation_space, dataset.action_space
    columns = [_episode(episode, *spaces, source) for episode in episodes]
    kinds = {(episode["obs"].dtype, episode["obs"].shape[1:], episode["act"].shape[1:]) for episode in columns}
    if len(kinds) > 1:
        raise ValueError(f"{source}: observations or actions differ between episodes in type or shape: {kinds}")
    joined: dict[str, Any] = {key: np.concatenate([episode[key] for episode in columns]) for key in columns[0]}
    returns = episode_sums(joined["rew"], joined["terminated"] | joined["truncated"])
    return Transitions(**joined, episode_returns=returns, source=source)


def _episode(
    episode: Any, observation_space: gym.Space[Any], action_space: gym.Space[Any], source: str
) -> dict[str, Array]:
    """The columns of one episode, checked."""
    prefix = f"episode_{episode.id}"
    if not isinstance(action_space, gym.spaces.Discrete | gym.spaces.Box):
        raise ValueError(f"{source}: action space {action_space} is not supported; allowed: Discrete or Box")
    steps = {
        f"{prefix}/{key}": np.asarray(getattr(episode, key))
        for key in ("actions", "rewards", "terminations", "truncations")
    }
    check_lengths(steps, source)
    act, rew, terminations, truncations = steps
    try:
        raw = flatten(observation_space, episode.observations)
    except ValueError as error:
        raise ValueError(f"{source}: {prefix}/observations, from row 0 on: {error}") from None
    obs = as_obs(raw, f"{prefix}/observations", source)
    num_steps = len(steps[rew])
    if len(obs) != num_steps + 1:
        raise ValueError(
            f"{source}: {prefix}/observations has {len(obs)} rows, {rew} has {num_steps}; "
            "there must be one observation more than there are steps"
        )
    terminated = as_flag(steps[terminations], terminations, source)
    truncated = as_flag(steps[truncations], truncations, source) & ~terminated
    truncated[-1] |= ~terminated[-1]
    return {
        "obs": obs[:-1],
        "obs_next": obs[1:],
        "act": as_act(steps[act], act, source, is_discrete=isinstance(action_space, gym.spaces.Discrete)),
        "rew": as_float(steps[rew], rew, source, (1,), "(N,)"),
        "terminated": terminated,
        "truncated": truncated,
    }


def _data(folder: Path) -> Path:
    """The folder with the data, which lies in that of the dataset."""
    return folder / "data" if (folder / "data").is_dir() else folder


def _metadata(folder: Path) -> dict[str, Any]:
    path = _data(folder) / "metadata.json"
    try:
        metadata = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        raise FileNotFoundError(
            f"{folder}: no Minari dataset; fetch it with `minari download ID`, or name its folder with dataset.path"
        ) from None
    except (OSError, ValueError, RecursionError) as error:
        raise ValueError(f"{path}: not readable, truncated or damaged ({error})") from None
    if not isinstance(metadata, dict):
        raise ValueError(f"{path}: not a JSON object")
    return metadata


def _env_spec(metadata: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The environment for evaluation, else the one of the recording, as Gymnasium writes it; empty where neither is."""
    text = metadata.get("eval_env_spec") or metadata.get("env_spec") or "{}"
    try:
        spec = json.loads(text)
    except (TypeError, ValueError, RecursionError):
        spec = None
    if not isinstance(spec, dict) or not isinstance(spec.get("id") or "", str):
        raise ValueError(f"{_data(folder) / 'metadata.json'}: env_spec is no JSON object with an id in a string")
    return spec


def _arguments(spec: dict[str, Any]) -> dict[str, Any]:
    """The arguments of an environment that are not those of its registered id."""
    registered, given = gym.registry.get(spec.get("id", "")), spec.get("kwargs")
    usual = registered.kwargs if registered else {}
    return {key: value for key, value in given.items() if usual.get(key) != value} if isinstance(given, dict) else {}
