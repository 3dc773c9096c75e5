"""Registry of the kinds of dataset, and the check of a configuration's section `dataset`."""

import copy
import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import gymnasium as gym
from omegaconf import DictConfig, OmegaConf, open_dict

from bcq_exp.behaviours.collection import CollectedDatasetConfig
from bcq_exp.behaviours.replay import ReplayDatasetConfig
from bcq_exp.data.formats.atari_replay import AtariReplayDatasetConfig
from bcq_exp.data.formats.d4rl import D4RLDatasetConfig
from bcq_exp.data.formats.minari import MinariDatasetConfig, minari_name
from bcq_exp.data.formats.readers import H5DatasetConfig
from bcq_exp.data.formats.tables.table import TableDatasetConfig
from bcq_exp.data.preprocessing import held_out, range_of_returns, subset, transform_rewards
from bcq_exp.data.schema import DatasetConfig
from bcq_exp.data.transitions import Transitions
from bcq_exp.envs.environments import foreign_module, spaces
from bcq_exp.training.identity import dataset_digest
from bcq_exp.training.sections import MISSING, chosen_type, plain, typed_section

DATASETS: dict[str, type[DatasetConfig]] = {
    "collected": CollectedDatasetConfig,
    "replay": ReplayDatasetConfig,
    "h5": H5DatasetConfig,
    "table": TableDatasetConfig,
    "d4rl": D4RLDatasetConfig,
    "minari": MinariDatasetConfig,
    "atari_replay": AtariReplayDatasetConfig,
}

NO_ENV = "none"  # in place of an environment's id: none, whatever the dataset names
ENV_FACTS = ("env", "ref_min", "ref_max")  # that have no meaning without an environment
HELD_OUT, ALL = "held-out episodes", "all episodes"

Spaces = tuple[gym.Space[Any], gym.Space[Any]]

_KEPT: dict[str, Transitions] = {}  # one recording at most, by the keys that decide it

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Parts:
    """A dataset's part to learn from, and the one that policies are judged on without an environment.

    Args:
        learned: as recorded, or preprocessed by `load_parts`.
        judged: as recorded: the held-out episodes, or all where none are held out; None where nothing is judged.
        name: of the judged part, `HELD_OUT` or `ALL`.
    """

    learned: Transitions
    judged: Transitions | None
    name: str

    @property
    def is_held_out(self) -> bool:
        """Whether nothing is learned from the judged part."""
        return self.name == HELD_OUT

    @cached_property
    def sha256(self) -> str:
        """The digest of all that a run reads of the dataset."""
        return dataset_digest(self.learned) if self.judged is None else dataset_digest(self.learned, self.judged)


RESOLVERS = {"minari_name": minari_name}  # that a file of conf/dataset, and so a run directory, may call
for name, resolver in RESOLVERS.items():
    OmegaConf.register_new_resolver(name, resolver, replace=True)


def with_absolute_paths(cfg: DictConfig, folder: Path) -> DictConfig:
    """A copy in which the files that the dataset names are absolute.

    Args:
        cfg: a composed configuration.
        folder: where relative paths begin: where the command was given.
    """
    absolute: DictConfig = copy.deepcopy(cfg)
    make_paths_absolute(absolute, folder)
    return absolute


def make_paths_absolute(cfg: DictConfig, folder: Path) -> None:
    """As `with_absolute_paths`, in the configuration itself."""
    kind = DATASETS.get(str(OmegaConf.select(cfg, "dataset.format")))
    with open_dict(cfg):
        for key in kind.file_keys if kind else ():
            value = OmegaConf.select(cfg, f"dataset.{key}")
            if isinstance(value, str) and (key == "path" or "/" in value):  # an agent that ships has a name
                OmegaConf.update(cfg, f"dataset.{key}", str(folder / Path(value).expanduser()))


def completed(section: Mapping[str, Any]) -> dict[str, Any]:
    """The section `dataset` with what it leaves to the metadata of the dataset.

    Args:
        section: plain values. `env` null is the environment that the dataset names, if any; `none` is none.

    Raises:
        ValueError: there is no such dataset, its metadata are damaged, or it names an environment whose module would
            have to be imported.
    """
    given, kind = dict(section), DATASETS.get(str(section.get("format")))
    if kind is None:
        return given
    try:
        facts = kind.facts({key: None if value == MISSING else value for key, value in given.items()})
    except (ValueError, OSError) as error:
        raise ValueError(f"dataset: {error}") from None
    if given.get("env") == NO_ENV or (given.get("env") is None and facts.get("env") is None):
        lacking = {key: value for key, value in facts.items() if key not in ENV_FACTS and given.get(key) is None}
        return given | lacking | {"env": None}
    lacking = {key: value for key, value in facts.items() if given.get(key) is None}
    if "env" in lacking:
        _check_unnamed(lacking["env"])
    return given | lacking


def _check_unnamed(env: str) -> None:
    """Raise ValueError where making an environment that nobody has typed would import a module."""
    if (module := foreign_module(env)) is not None:
        raise ValueError(
            f"dataset.env is null, and the environment {env} that the dataset names is made by importing the module"
            f" {module}, which runs its code; if you trust it, give dataset.env={env}, else"
            f" dataset.env={NO_ENV}"
        )


def dataset_errors(dataset: DatasetConfig) -> list[str]:
    """A line for each thing that is wrong with a typed dataset."""
    errors: list[str] = []
    wrong = dataset.errors()
    for key, (section, schema) in dataset.sections().items():
        try:
            typed_section(section, schema, f"dataset.{key}.", errors)
        except ValueError as error:
            wrong.append(str(error))
    return errors + [f"dataset: {line}" for line in wrong]


def checked_spaces(env_id: str, errors: list[str]) -> Spaces | None:
    """The observation and action space of an environment; None, and an error, where it cannot be made."""
    try:
        return spaces(env_id)
    except ValueError as error:
        errors.append(f"dataset.env: {error}")
        return None


def spaces_of(dataset: DatasetConfig) -> tuple[Spaces | None, list[str]]:
    """The observation and action space of a dataset, from its environment or, without one, from its data.

    None, and an error, where there are none. Data that are read are kept for the next call of `recorded`.
    """
    if dataset.env is not None:
        errors: list[str] = []
        return checked_spaces(dataset.env, errors), errors
    _KEPT.clear()
    try:
        recording = dataset.read()
        _KEPT[repr(dataset.recording)] = recording
        return dataset.spaces(recording), []
    except (ValueError, OSError) as error:
        return None, [f"dataset: {error}"]


def recorded(dataset: DatasetConfig, *, allow_code_change: bool = False) -> Transitions:
    """The dataset as recorded, as `spaces_of` has just read it or read now; raises as `DatasetConfig.read`."""
    kept = _KEPT.pop(repr(dataset.recording), None)
    _KEPT.clear()
    return dataset.read(allow_code_change=allow_code_change) if kept is None else kept


def part_of(dataset: DatasetConfig) -> str:
    """The name of the part that policies are judged on."""
    return HELD_OUT if dataset.holdout else ALL


def divided(whole: Transitions, dataset: DatasetConfig) -> Parts:
    """A dataset as recorded, in its parts; raises as `held_out`."""
    if not dataset.holdout:
        return Parts(whole, whole, part_of(dataset))
    rest, judged = held_out(whole, fraction=dataset.holdout, seed=dataset.holdout_seed)
    sizes = (len(rest), len(rest.episode_returns), len(judged), len(judged.episode_returns))
    log.info("%d transitions of %d episodes to learn from, %d of %d held out", *sizes)
    return Parts(rest, judged, part_of(dataset))


def load_parts(dataset: DatasetConfig, *, allow_code_change: bool = False) -> Parts:
    """The parts of the dataset that a configuration names; raises as `DatasetConfig.read` and `held_out`."""
    parts = divided(recorded(dataset, allow_code_change=allow_code_change), dataset)
    rest = parts.learned
    kept = subset(
        rest, fraction=dataset.fraction, seed=dataset.fraction_seed, top_return_fraction=dataset.top_return_fraction
    )
    if kept is not rest:
        log.info("%d of %d transitions are left, %d episodes", len(kept), len(rest), len(kept.episode_returns))
    scale = dataset.reward_scale
    if dataset.return_range is not None:
        ends = kept.terminated | kept.truncated
        scale *= dataset.return_range / range_of_returns(kept.rew, ends, clip=dataset.reward_clip)
    rew = transform_rewards(kept.rew, clip=dataset.reward_clip, scale=scale, shift=dataset.reward_shift)
    return replace(parts, learned=replace(kept, rew=rew))


def checked_dataset(cfg: DictConfig) -> DatasetConfig:
    """The typed section `dataset`; raises ValueError with all that is wrong, a line each."""
    errors: list[str] = []
    values = plain(cfg)
    schema = chosen_type(values, "dataset.format", DATASETS, errors)
    dataset = None if errors else typed_section(completed(values["dataset"]), schema, "dataset.", errors)
    if dataset is not None and not errors:
        errors += dataset_errors(dataset)
    if dataset is not None and not errors:
        errors += spaces_of(dataset)[1]
    if errors:
        raise ValueError("\n".join(errors))
    assert isinstance(dataset, DatasetConfig)
    return dataset
