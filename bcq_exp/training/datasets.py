"""Typed schemas of datasets, and what a configuration leaves to a dataset's own metadata."""

import copy
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import gymnasium as gym
from omegaconf import DictConfig, OmegaConf, open_dict

from bcq_exp.behaviours.agents import Behaviour, make_noise
from bcq_exp.behaviours.training import LAST_SEED, BehaviourConfig
from bcq_exp.data.formats.atari_replay import check_choice, scores
from bcq_exp.data.formats.d4rl import entry
from bcq_exp.data.formats.minari import minari_folder, read_facts
from bcq_exp.engine.streams import Growth
from bcq_exp.envs.environments import foreign_module, normalized_score
from bcq_exp.fields import file_name, named, one_of, within
from bcq_exp.training.sections import MISSING, typed_section

PATHS = ("dataset.path", "dataset.behaviour")


def minari_name(id_: str | None, path: str | None) -> str:
    """A name for run directories, where the slashes of an id would be folders."""
    return file_name(str(id_ or path).strip("/"))


OmegaConf.register_new_resolver("minari_name", minari_name, replace=True)


@dataclass(kw_only=True)
class DatasetConfig:
    """What every dataset has; the keys from `fraction` on are those of `conf/preprocessing`."""

    is_reward_clipped: ClassVar[bool] = False  # in the recording: its returns are in other units than evaluation's

    name: str = named()
    format: str = one_of("collected", "h5", "d4rl", "minari", "atari_replay", "replay")
    env: str
    ref_min: float | None
    ref_max: float | None
    fraction: float = within(0, 1, is_low_open=True)
    fraction_seed: int = within(0)
    top_return_fraction: float = within(0, 1, is_low_open=True)
    reward_clip: tuple[float, float] | None
    reward_scale: float = within(0, is_low_open=True)
    reward_shift: float = within(-math.inf)
    normalize_obs: bool
    obs_eps: float = within(0, is_low_open=True)


@dataclass(kw_only=True)
class H5DatasetConfig(DatasetConfig):
    """A file in one of the layouts of `bcq_exp.data.formats.layouts`."""

    path: str
    max_episode_steps: int | None


@dataclass(kw_only=True)
class D4RLDatasetConfig(DatasetConfig):
    """A dataset of D4RL by its name; `env` and references that are null are those of `bcq_exp.data.formats.d4rl`."""

    id: str
    path: str | None
    terminate_on_end: bool
    max_episode_steps: int | None


@dataclass(kw_only=True)
class MinariDatasetConfig(DatasetConfig):
    """A dataset of Minari, by its id or its folder; `env` and references that are null are those of its metadata."""

    id: str | None
    path: str | None


@dataclass(kw_only=True)
class CollectedDatasetConfig(DatasetConfig):
    """A dataset that a shipped behaviour collects on first use; `noise` are the arguments of `make_noise`."""

    behaviour: str
    num_transitions: int = within(1)
    seed: int = within(0)
    noise: dict[str, Any]


@dataclass(kw_only=True)
class AtariReplayDatasetConfig(DatasetConfig):
    """A DQN-replay dataset of an Atari game; `env` and references that are null are those of the game.

    `checkpoints` is a fraction of them or a list of their numbers, as in `load_atari_replay`.
    """

    is_reward_clipped: ClassVar[bool] = True

    game: str
    path: str
    checkpoints: Any
    max_episode_steps: int | None


@dataclass(kw_only=True)
class ReplayDatasetConfig(DatasetConfig):
    """All that an agent sees while it is trained, on first use; `training` are the keys of a `BehaviourConfig`.

    `rows_at_start` and `rows_per_update` are null where all rows are there from the beginning: see `Growth`.
    """

    training: dict[str, Any]
    num_transitions: int = within(1)
    seed: int = within(0, LAST_SEED)
    rows_at_start: int | None
    rows_per_update: float | None

    @property
    def growth(self) -> Growth | None:
        """How the dataset grows; raises ValueError where it cannot."""
        start, rate = self.rows_at_start, self.rows_per_update
        if start is None and rate is None:
            return None
        if start is None or rate is None or start < 1 or rate <= 0:
            raise ValueError(
                f"rows_at_start={start}, rows_per_update={rate}; allowed: both null, or 1 and more, and more than 0"
            )
        return Growth(start, rate)


FORMATS: dict[str, type[DatasetConfig]] = {
    "collected": CollectedDatasetConfig,
    "replay": ReplayDatasetConfig,
    "h5": H5DatasetConfig,
    "d4rl": D4RLDatasetConfig,
    "minari": MinariDatasetConfig,
    "atari_replay": AtariReplayDatasetConfig,
}


def with_absolute_paths(cfg: DictConfig, folder: Path) -> DictConfig:
    """A copy in which the files that the dataset names are found from anywhere.

    Args:
        cfg: a composed configuration.
        folder: what relative paths begin at: where the command was given.
    """
    found: DictConfig = copy.deepcopy(cfg)
    with open_dict(found):
        for key in PATHS:
            value = OmegaConf.select(found, key)
            if isinstance(value, str) and (key == "dataset.path" or "/" in value):  # an agent that ships has a name
                OmegaConf.update(found, key, str(folder / Path(value).expanduser()))
    return found


def completed(section: Mapping[str, Any]) -> dict[str, Any]:
    """The section `dataset` with what it leaves to the metadata of the dataset.

    Args:
        section: plain values.

    Raises:
        ValueError: there is no such dataset, its metadata are damaged, or no environment is known.
    """
    format_, own = section.get("format"), dict(section)
    if format_ not in ("d4rl", "minari", "atari_replay"):
        return own
    words = {key: section.get(key) for key in ("id", "path", "game")}
    for key, value in words.items():
        if not isinstance(value, str | None):
            raise ValueError(f"dataset.{key}={value} is no text")
        if value == MISSING:
            words[key] = None
    for key, chosen, example in (("game", "atari_replay", "Pong"), ("id", "d4rl", "hopper-medium-v2")):
        if format_ == chosen and words[key] is None:
            raise ValueError(f"dataset.{key} has no value; give one: dataset.{key}={example}")
    try:
        if format_ == "d4rl":
            known = entry(str(words["id"]))
            facts: dict[str, Any] = {"env": known.env, "ref_min": known.ref_min, "ref_max": known.ref_max}
        elif format_ == "atari_replay":
            low, high = scores().get(str(words["game"]), (None, None))
            facts = {"env": f"ALE/{words['game']}-v5", "ref_min": low, "ref_max": high}
        else:
            facts = read_facts(minari_folder(words["id"], words["path"]))
    except (ValueError, OSError) as error:
        raise ValueError(f"dataset: {error}") from None
    lacking = {key: value for key, value in facts.items() if section.get(key) is None}
    if "env" in lacking:
        _check_found(lacking["env"], section.get("name"))
    return own | lacking


def _check_found(env: str | None, name: Any) -> None:
    """Raise ValueError unless an environment that nobody has typed is known and imports nothing."""
    if env is None:
        raise ValueError(
            f"dataset.env is null and no environment of Gymnasium is known for {name}; give one: dataset.env=ID"
        )
    if (module := foreign_module(env)) is not None:
        raise ValueError(
            f"dataset.env is null, and the environment {env} that the dataset names is made by importing the module"
            f" {module}, which runs its code; if you trust it, give dataset.env={env}"
        )


def dataset_errors(dataset: DatasetConfig) -> list[str]:
    """What is wrong with a typed dataset, a line each."""
    try:
        normalized_score(0, dataset.ref_min, dataset.ref_max)
        if isinstance(dataset, CollectedDatasetConfig):
            Behaviour.load(dataset.behaviour)
            make_noise(**dataset.noise)
        if isinstance(dataset, ReplayDatasetConfig):
            decided = {"env": dataset.env, "max_steps": dataset.num_transitions}
            errors: list[str] = []
            typed_section({**dataset.training, **decided}, BehaviourConfig, "dataset.training.", errors)
            if errors:
                return errors
            if dataset.growth and (dataset.fraction, dataset.top_return_fraction, dataset.normalize_obs) != (
                1,
                1,
                False,
            ):
                raise ValueError(
                    "rows_per_update is for whole datasets in the order of their recording; give fraction=1 and "
                    "top_return_fraction=1, and normalize_obs=false, whose statistics would be of rows to come"
                )
        if isinstance(dataset, AtariReplayDatasetConfig):
            check_choice(dataset.checkpoints)
        limit = None
        if isinstance(dataset, D4RLDatasetConfig | AtariReplayDatasetConfig):
            limit = dataset.max_episode_steps
        if isinstance(dataset, H5DatasetConfig) and dataset.max_episode_steps != 0:
            limit = dataset.max_episode_steps
        if limit is not None and limit < 2:
            raise ValueError(
                f"max_episode_steps={limit} is below 2; allowed: null or 2 and more"
                + (", or 0 for none" if isinstance(dataset, H5DatasetConfig) else "")
            )
        clip = dataset.reward_clip
        if clip is not None and not (len(clip) == 2 and all(map(math.isfinite, clip)) and clip[0] < clip[1]):
            raise ValueError(f"reward_clip={list(clip)}; allowed: null, or two finite numbers, the lower one first")
    except (TypeError, ValueError) as error:
        return [f"dataset: {error}"]
    return []


def observation_errors(dataset: DatasetConfig, space: gym.Space[Any]) -> list[str]:
    """Why the environment's observations cannot be preprocessed as a dataset says."""
    if not dataset.normalize_obs or (isinstance(space, gym.spaces.Box) and len(space.shape) == 1):
        return []
    return [
        f"dataset.normalize_obs=true is for observations of one axis, the environment has {space};"
        " give dataset.normalize_obs=false: networks on images scale bytes themselves"
    ]
