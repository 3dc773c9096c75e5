"""Registry of the kinds of dataset, and the check of a configuration's section `dataset`."""

import copy
from collections.abc import Mapping
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
from bcq_exp.data.schema import DatasetConfig
from bcq_exp.envs.environments import foreign_module, spaces
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
        section: plain values.

    Raises:
        ValueError: there is no such dataset, its metadata are damaged, or no environment is known.
    """
    given, kind = dict(section), DATASETS.get(str(section.get("format")))
    if kind is None:
        return given
    try:
        facts = kind.facts({key: None if value == MISSING else value for key, value in given.items()})
    except (ValueError, OSError) as error:
        raise ValueError(f"dataset: {error}") from None
    lacking = {key: value for key, value in facts.items() if given.get(key) is None}
    if "env" in lacking:
        _check_unnamed(lacking["env"], given.get("name"))
    return given | lacking


def _check_unnamed(env: str | None, dataset: Any) -> None:
    """Raise ValueError unless an environment that nobody has typed is known and imports nothing."""
    if env is None:
        raise ValueError(
            f"dataset.env is null and no environment of Gymnasium is known for {dataset}; give one: dataset.env=ID"
        )
    if (module := foreign_module(env)) is not None:
        raise ValueError(
            f"dataset.env is null, and the environment {env} that the dataset names is made by importing the module"
            f" {module}, which runs its code; if you trust it, give dataset.env={env}"
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


def checked_spaces(env_id: str, errors: list[str]) -> tuple[gym.Space[Any], gym.Space[Any]] | None:
    """The observation and action space of an environment; None, and an error, where it cannot be made."""
    try:
        return spaces(env_id)
    except ValueError as error:
        errors.append(f"dataset.env: {error}")
        return None


def checked_dataset(cfg: DictConfig) -> DatasetConfig:
    """The typed section `dataset`; raises ValueError with all that is wrong, a line each."""
    errors: list[str] = []
    values = plain(cfg)
    schema = chosen_type(values, "dataset.format", DATASETS, errors)
    dataset = None if errors else typed_section(completed(values["dataset"]), schema, "dataset.", errors)
    if dataset is not None and not errors:
        errors += dataset_errors(dataset)
        checked_spaces(dataset.env, errors)
    if errors:
        raise ValueError("\n".join(errors))
    assert isinstance(dataset, DatasetConfig)
    return dataset
