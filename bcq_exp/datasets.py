"""Typed schemas of datasets, and what a configuration leaves to a dataset's own metadata."""

from dataclasses import dataclass
from typing import Any

from omegaconf import DictConfig, OmegaConf

from bcq_exp.algorithms.schema import one_of, within
from bcq_exp.data.behaviour import Behaviour, make_noise
from bcq_exp.data.d4rl import entry
from bcq_exp.data.minari_reader import minari_folder, read_facts
from bcq_exp.envs import normalized_score

# A name for run directories, where the slashes of an id would be folders.
OmegaConf.register_new_resolver(
    "minari_name", lambda id_, path: str(id_ or path).strip("/").replace("/", "-"), replace=True
)


@dataclass(kw_only=True)
class DatasetConfig:
    """What every dataset has."""

    name: str
    format: str = one_of("collected", "h5", "d4rl", "minari")
    env: str
    ref_min: float | None
    ref_max: float | None


@dataclass(kw_only=True)
class H5DatasetConfig(DatasetConfig):
    """A file in one of the layouts of `bcq_exp.data.readers`."""

    path: str


@dataclass(kw_only=True)
class D4RLDatasetConfig(DatasetConfig):
    """A dataset of D4RL by its name; `env` and references that are null are those of `bcq_exp.data.d4rl`."""

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


FORMATS: dict[str, type[DatasetConfig]] = {
    "collected": CollectedDatasetConfig,
    "h5": H5DatasetConfig,
    "d4rl": D4RLDatasetConfig,
    "minari": MinariDatasetConfig,
}


def completed(section: DictConfig) -> DictConfig:
    """The section `dataset` with what it leaves to the metadata of the dataset.

    Raises:
        ValueError: there is no such dataset, its metadata are damaged, or no environment is known.
    """
    if section.format not in ("d4rl", "minari"):
        return section
    if section.format == "d4rl" and section.get("id") is None:
        raise ValueError("dataset.id has no value; give one: dataset.id=hopper-medium-v2")
    try:
        if section.format == "d4rl":
            known = entry(str(section.get("id")))
            facts = {"env": known.env, "ref_min": known.ref_min, "ref_max": known.ref_max}
        else:
            facts = read_facts(minari_folder(section.get("id"), section.get("path")))
    except (ValueError, OSError) as error:
        raise ValueError(f"dataset: {error}") from None
    lacking = {key: value for key, value in facts.items() if section.get(key) is None}
    if "env" in lacking and lacking["env"] is None:
        raise ValueError(
            f"dataset.env is null and no environment of Gymnasium is known for {section.name}; give one: dataset.env=ID"
        )
    filled = OmegaConf.merge(section, lacking)
    assert isinstance(filled, DictConfig)
    return filled


def dataset_errors(dataset: DatasetConfig) -> list[str]:
    """What is wrong with a typed dataset, a line each."""
    try:
        normalized_score(0, dataset.ref_min, dataset.ref_max)
        if isinstance(dataset, CollectedDatasetConfig):
            Behaviour.load(dataset.behaviour)
            make_noise(**dataset.noise)
        limit = dataset.max_episode_steps if isinstance(dataset, D4RLDatasetConfig) else None
        if limit is not None and limit < 2:
            raise ValueError(f"max_episode_steps={limit} is below 2; allowed: null or 2 and more")
    except (TypeError, ValueError) as error:
        return [f"dataset: {error}"]
    return []
