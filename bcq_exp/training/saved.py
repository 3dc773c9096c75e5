"""Saved configurations of run directories; reading one executes nothing, whatever the files hold."""

from collections.abc import Collection, Mapping
from dataclasses import fields
from functools import cache
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from bcq_exp.algorithms import REGISTRY
from bcq_exp.envs.environments import foreign_module
from bcq_exp.fields import NAME
from bcq_exp.io.differences import flatten
from bcq_exp.io.endings import first_line
from bcq_exp.io.loggers import LOGGERS
from bcq_exp.io.plain import dereferenced, read_yaml
from bcq_exp.io.source import CONF_DIR
from bcq_exp.training.datasets import DATASETS, RESOLVERS
from bcq_exp.training.sections import MISSING, plain

RESTORE = "restore it from a copy, or begin the run anew in another directory"
# Keys that every logger had in earlier versions, whether its kind read them or not.
EARLIER_LOGGER_KEYS = frozenset({"project", "group", "tags", "job_type"})
# Groups whose choice a configuration names, so that the keys that it lacks can be looked up in `conf/`.
NAMED_GROUPS = ("algorithm", "network", "optimizer")


class ModuleNotAllowed(ValueError):
    """The environment of a saved configuration is in a module that is not allowed."""


def allowed_modules(cfg: DictConfig) -> list[str]:
    """The key `allow_modules` of a composed configuration; raises ValueError where it is no list of names."""
    words = plain(cfg).get("allow_modules")
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        raise ValueError(f"allow_modules={words} is no list of modules' names, such as [own_envs]")
    return words


def saved_config(run_dir: Path, *, allow_modules: Collection[str] | None = ()) -> DictConfig:
    """Read the configuration of a run directory, as plain values, unchecked, completed by `later_keys`.

    Args:
        run_dir: a run directory from anywhere; nothing in it is resolved or executed.
        allow_modules: modules that the environment may be imported from, besides those already imported; None allows
            any, for a configuration that this user is known to have typed.

    Raises:
        ModuleNotAllowed: the environment is in a module that is not allowed.
        ValueError: there is no configuration, or it is damaged.
    """
    path = run_dir / ".hydra" / "config.yaml"
    if not path.exists():
        raise ValueError(f"there is no {path}, so {run_dir} is no run directory")
    values = dereferenced(read_yaml(path), path, RESOLVERS)
    if not isinstance(values, dict):
        raise ValueError(f"{path}: cannot be read, damaged or altered (no mapping of keys to values); {RESTORE}")
    dataset = values.get("dataset")
    env = dataset.get("env") if isinstance(dataset, dict) else None
    module = foreign_module(env) if isinstance(env, str) and env != MISSING else None
    if module is not None and allow_modules is not None and module not in allow_modules:
        raise ModuleNotAllowed(
            f"{path}: the environment {env} is made by importing the module {module}, which runs its code;"
            f" if you trust it, add 'allow_modules=[{module}]'"
        )
    try:
        kept = {str(key): value for key, value in values.items()}
        if "logger" in kept:
            kept["logger"] = logger_section(kept["logger"])
        cfg = OmegaConf.create({**kept, "allow_modules": []})
        for key, value in later_keys(flatten(kept)).items():
            OmegaConf.update(cfg, key, value, force_add=True)
        return cfg
    except (OmegaConfBaseException, RecursionError) as error:
        raise ValueError(f"{path}: cannot be read, damaged or altered ({first_line(error)})") from None


def later_keys(saved: Mapping[str, Any]) -> dict[str, Any]:
    """The keys that came since a configuration was saved.

    They have the values that they had where the kind of dataset, of logger or the algorithm states them (`later_keys`);
    others of algorithm, network and optimizer have those of `conf/`.

    Args:
        saved: values by dotted name.
    """
    kind, definition = DATASETS.get(str(saved.get("dataset.format"))), REGISTRY.get(str(saved.get("algorithm.name")))
    later: dict[str, Any] = {}
    for group in NAMED_GROUPS:
        later |= choice(group, str(saved.get(f"{group}.name")))
    later |= {f"dataset.{key}": value for key, value in (kind.later_keys if kind else {}).items()}
    logger = LOGGERS.get(str(saved.get("logger.name")))
    later |= {f"logger.{key}": value for key, value in (logger.later_keys if logger else {}).items()}
    later |= {f"algorithm.{key}": value for key, value in (definition.config.later_keys if definition else {}).items()}
    return {key: value for key, value in later.items() if not _has(saved, key)}


def _has(saved: Mapping[str, Any], key: str) -> bool:
    """Whether a value stands under a dotted name, or in place of a section that it is in."""
    parts = key.split(".")
    return any(".".join(parts[:end]) in saved for end in range(1, len(parts) + 1))


@cache
def choice(group: str, name: str) -> dict[str, Any]:
    """The values of a choice by dotted name; none where `conf/` has no such choice."""
    path = Path(CONF_DIR) / group / f"{name}.yaml"
    is_there = NAME.fullmatch(name) and path.exists()
    return flatten({group: OmegaConf.to_container(OmegaConf.load(path))}) if is_there else {}


def logger_section(section: Any) -> Any:
    """A saved section `logger` without the keys that its kind had in earlier versions only."""
    name = section.get("name") if isinstance(section, dict) else None
    if not isinstance(name, str) or name not in LOGGERS:
        return section
    dropped = EARLIER_LOGGER_KEYS - {spec.name for spec in fields(LOGGERS[name])}
    return {key: value for key, value in section.items() if key not in dropped}


def saved_overrides(run_dir: Path) -> tuple[str, ...]:
    """Read the overrides of a run from its directory, word by word; raises ValueError where they are damaged."""
    path = run_dir / ".hydra" / "overrides.yaml"
    words = read_yaml(path)
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        raise ValueError(f"{path}: cannot be read, damaged or altered (no list of words); {RESTORE}")
    return tuple(words)
