"""Configurations of a sweep's jobs, equal to Hydra's own and made thousands of times faster."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import ConfigCompositionException
from hydra.types import HydraContext
from omegaconf import DictConfig, OmegaConf, open_dict, read_write
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, OmegaConfBaseException


@dataclass(frozen=True)
class Composition:
    """One job's configuration, as plain values.

    Args:
        task: the configuration without Hydra's own, resolved, its files' paths absolute.
        hydra: Hydra's own, its interpolations unresolved.
        run_dir: of the job, absolute, by `hydra.sweep.subdir`.
    """

    task: dict[str, Any]
    hydra: dict[str, Any]
    run_dir: Path


class Template:
    """The configuration of a set of group choices, in which keys are set anew for each job.

    All of its jobs set the same keys, so a job overwrites what the one before it has set, and only what differs is set.
    Copying a DictConfig for each job would take most of a large sweep's start.

    Args:
        cfg: the whole configuration, without values of jobs.
        sweep_dir: of the sweep.
    """

    def __init__(self, cfg: DictConfig, sweep_dir: Path) -> None:
        from bcq_exp.training.datasets import make_paths_absolute

        self.make_paths_absolute, self.sweep_dir = make_paths_absolute, sweep_dir
        own: Any = OmegaConf.to_container(cfg.hydra, enum_to_str=True)
        self.hydra: dict[str, Any] = own
        self.task, self.named = copy.deepcopy(cfg), copy.deepcopy(cfg)  # `named` has the files' paths as they are typed
        with read_write(self.task), open_dict(self.task):
            del self.task["hydra"]
        with read_write(self.named), open_dict(self.named):
            part = {key: self.hydra[key] for key in ("job", "runtime")}
            self.named["hydra"] = part | {"subdir": self.hydra["sweep"]["subdir"]}
            OmegaConf.set_struct(self.named["hydra"], False)
        self.values: list[str] = []  # of the job before

    def job(self, values: Sequence[Override], overrides: Sequence[Override], number: int) -> Composition:
        """The configuration of a job.

        Args:
            values: its plain `key=value` overrides.
            overrides: all of them, which its configuration names.
            number: of the job in the sweep.

        Raises:
            HydraException: a value does not fit.
            ValueError: the configuration cannot be resolved.
        """
        from bcq_exp.training.sections import plain

        lines = [str(override.input_line) for override in values]
        for override, line, before in zip(values, lines, self.values or [""] * len(lines), strict=True):
            if line != before:
                set_value(self.task, override)
                set_value(self.named, override)
        self.values = lines
        names = self.hydra["job"]["config"]["override_dirname"]
        own = {
            "override_dirname": dirname(overrides, **names),
            "num": number,
            "id": f"{self.hydra['job']['name']}_{number}",
        }
        self.named.hydra.job.update(own)
        run_dir = (self.sweep_dir / str(self.named.hydra.subdir)).absolute()
        self.make_paths_absolute(self.task, Path(self.hydra["runtime"]["cwd"]))
        typed = {**self.hydra["overrides"], "task": [override.input_line for override in overrides]}
        runtime = {**self.hydra["runtime"], "output_dir": str(run_dir)}
        hydra = {**self.hydra, "overrides": typed, "job": {**self.hydra["job"], **own}, "runtime": runtime}
        return Composition(plain(self.task), hydra, run_dir)


def set_value(cfg: DictConfig, override: Override) -> None:
    """Apply a plain `key=value` override.

    Raises:
        ConfigCompositionException: there is no such key, or the value does not fit; in Hydra's words.
    """
    try:
        OmegaConf.update(cfg, override.key_or_group, override.value(), merge=True)
    except (ConfigAttributeError, ConfigKeyError) as error:
        raise ConfigCompositionException(f"Could not override '{override.key_or_group}'.") from error
    except OmegaConfBaseException as error:
        raise ConfigCompositionException(f"Error merging override {override.input_line}") from error


def dirname(overrides: Sequence[Override], *, exclude_keys: Sequence[str], item_sep: str, kv_sep: str) -> str:
    """Hydra's `job.override_dirname`: the overrides in alphabetical order; keywords as in `hydra.job.config`."""
    lines = sorted(str(o.input_line) for o in overrides if o.key_or_group not in exclude_keys)
    return item_sep.join(lines).replace("=", kv_sep)


class Composer:
    """Configurations of a sweep's jobs, equal to Hydra's own, with one composition for each set of group choices.

    Args:
        context: Hydra's.
        master: the sweep's own configuration.
    """

    def __init__(self, context: HydraContext, master: DictConfig) -> None:
        self.loader, self.master = context.config_loader, master
        self.parser = OverridesParser.create(config_loader=self.loader)
        self.parsed: dict[str, Override] = {}
        self.are_groups: dict[str, bool] = {}
        self.composed: dict[tuple[str, ...], DictConfig] = {}
        self.templates: dict[tuple[str, ...], Template] = {}

    def compose(self, overrides: Sequence[str], number: int) -> Composition:
        """The configuration of a job.

        Args:
            overrides: the words that were typed for it.
            number: of the job in the sweep.

        Raises:
            HydraException: an override does not fit.
            ValueError: the configuration cannot be resolved.
        """
        parsed = [self._parsed(line) for line in overrides]
        groups = [override for override in parsed if self._is_group(override)]
        values = [override for override in parsed if override not in groups]
        if any(o.is_add() or o.is_force_add() or o.is_delete() or o.is_hydra_override() for o in values):
            return self._template(self._composed(overrides)).job([], parsed, number)  # rare; their order may matter
        choices = tuple(str(override.input_line) for override in groups)
        if choices not in self.composed:
            self.composed[choices] = self._composed(choices)
        keys = tuple(override.key_or_group for override in values)
        known = (*choices, "", *keys)
        # A mapping is merged with what is there, and of a key that is set twice the later value counts.
        if len(set(keys)) < len(keys) or any(isinstance(override.value(), dict) for override in values):
            return self._template(self.composed[choices]).job(values, parsed, number)
        template = self.templates.pop(known, None) or self._template(self.composed[choices])
        made = template.job(values, parsed, number)
        self.templates[known] = template  # unless a value did not fit
        return made

    def _template(self, cfg: DictConfig) -> Template:
        return Template(cfg, Path(self.master.hydra.sweep.dir))

    def _parsed(self, line: str) -> Override:
        if line not in self.parsed:
            self.parsed[line] = self.parser.parse_overrides([line])[0]
        return self.parsed[line]

    def _is_group(self, override: Override) -> bool:
        key = override.key_or_group
        if key not in self.are_groups:
            self.are_groups[key] = bool(self.loader.get_group_options(key))
        return override.package is not None or self.are_groups[key]

    def _composed(self, overrides: Sequence[str]) -> DictConfig:
        return self.loader.load_sweep_config(self.master, list(overrides))
