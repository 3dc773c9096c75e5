"""Hydra's `-m` for this project: a sweep is composed once for each set of group choices and trained as populations.

Imports nothing heavy: Hydra loads every plugin at each start, whatever the program.
"""

import copy
import math
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra._internal.config_loader_impl import ConfigLoaderImpl, get_overrides_dirname
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.utils import JobReturn, JobStatus, configure_log
from hydra.errors import HydraException
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf, open_dict, read_write


@dataclass
class PopulationLauncherConf:
    """Keys of `hydra.launcher`.

    `max_members` is the size at which a group of runs that train together is split.
    """

    _target_: str = "hydra_plugins.bcq_exp_population.PopulationLauncher"
    max_members: int = 64


@dataclass
class OnceSweeperConf:
    """Keys of `hydra.sweeper`: those of Hydra's basic sweeper."""

    _target_: str = "hydra_plugins.bcq_exp_population.OnceSweeper"
    max_batch_size: int | None = None
    params: dict[str, str] | None = None


ConfigStore.instance().store(group="hydra/launcher", name="population", node=PopulationLauncherConf, provider="bcq_exp")
ConfigStore.instance().store(group="hydra/sweeper", name="once", node=OnceSweeperConf, provider="bcq_exp")


class OnceSweeper(BasicSweeper):
    """Hydra's basic sweeper without its first pass, which composes every job a time more: the launcher composes all
    jobs before it starts any.
    """

    def validate_batch_is_legal(self, batch: Sequence[Sequence[str]]) -> None:
        """Left to the launcher."""


class Composer:
    """Configurations of a sweep's jobs, equal to Hydra's own, with one composition for each set of group choices.

    Args:
        context: Hydra's.
        master: the sweep's own configuration.
    """

    def __init__(self, context: HydraContext, master: DictConfig) -> None:
        self.loader, self.master = context.config_loader, master
        self.parser = OverridesParser.create(config_loader=self.loader)
        self.composed: dict[tuple[str, ...], DictConfig] = {}

    def compose(self, overrides: Sequence[str]) -> DictConfig:
        """The configuration of one job.

        Raises:
            HydraException: an override does not fit.
        """
        parsed = self.parser.parse_overrides(list(overrides))
        groups = [o for o in parsed if o.package is not None or self.loader.get_group_options(o.key_or_group)]
        values = [override for override in parsed if override not in groups]
        if any(o.is_add() or o.is_force_add() or o.is_delete() or o.is_hydra_override() for o in values):
            return self.loader.load_sweep_config(self.master, list(overrides))  # rare, and their order may matter
        choices = tuple(str(override.input_line) for override in groups)
        if choices not in self.composed:
            self.composed[choices] = self.loader.load_sweep_config(self.master, list(choices))
        cfg = copy.deepcopy(self.composed[choices])
        ConfigLoaderImpl._apply_overrides_to_config(values, cfg)
        names = cfg.hydra.job.config.override_dirname
        cfg.hydra.overrides.task = [override.input_line for override in parsed]
        cfg.hydra.job.override_dirname = get_overrides_dirname(
            overrides=parsed, exclude_keys=names.exclude_keys, item_sep=names.item_sep, kv_sep=names.kv_sep
        )
        OmegaConf.copy_cache(from_config=self.composed[choices], to_config=cfg)
        return cfg


class PopulationLauncher(Launcher):
    """Trains the jobs of a sweep as populations, in this process.

    Args:
        max_members: size at which a group is split.
    """

    def __init__(self, max_members: int) -> None:
        self.max_members = max_members

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Keep what `launch` needs.

        Raises:
            HydraException: the program is not the training entry point.
        """
        if task_function.__name__ != "main" or "bcq_exp.train" not in (task_function.__module__, _main_module()):
            raise HydraException("hydra/launcher=population serves bcq_exp.train only; use hydra/launcher=basic")
        self.context, self.config = hydra_context, config

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Compose and check every job, then run them group by group.

        Returns:
            For each job its final return; nan where it diverged.

        Raises:
            SystemExit: with one message for all that is wrong with any job, before any of them has started.
        """
        from bcq_exp import sweep
        from bcq_exp.config import check
        from bcq_exp.experiment import Job
        from bcq_exp.train import discard

        configure_log(self.config.hydra.hydra_logging, self.config.hydra.verbose)
        sweep_dir = Path(self.config.hydra.sweep.dir)
        composer, cfgs, errors = Composer(self.context, self.config), [], dict[str, None]()
        jobs: list[Job] = []
        for number, overrides in enumerate(job_overrides, start=initial_job_idx):
            try:
                cfg = composer.compose([override for override in overrides if not override.startswith("resume=")])
                self._place(cfg, number, sweep_dir)
                task = task_config(cfg)
                resolved: Any = OmegaConf.to_container(task, resolve=True)
                jobs.append(Job(check(task), Path(cfg.hydra.runtime.output_dir), resolved, tuple(overrides)))
                cfgs.append(cfg)
            except (HydraException, ValueError) as error:
                errors[explain(error, overrides)] = None
        if errors:
            discard(sweep_dir)
            raise SystemExit("error: " + "\n".join(errors))
        if self.config.resume is False:
            sweep.put_aside(sweep_dir)
        for cfg in cfgs:
            write_account(cfg)
        try:
            summaries = sweep.run(jobs, sweep_dir, max_members=self.max_members)
        except (ValueError, FileNotFoundError) as error:
            raise SystemExit(f"error: {error}") from None
        except KeyboardInterrupt:
            raise SystemExit("interrupted; the same command goes on from the last checkpoints") from None
        return [job_return(cfg, summary) for cfg, summary in zip(cfgs, summaries, strict=True)]

    def _place(self, cfg: DictConfig, number: int, sweep_dir: Path) -> None:
        """Give a job its number and its directory."""
        with read_write(cfg.hydra.runtime), read_write(cfg.hydra.job), open_dict(cfg.hydra):
            cfg.hydra.job.num, cfg.hydra.job.id = number, f"{cfg.hydra.job.name}_{number}"
            HydraConfig.instance().set_config(cfg)
            cfg.hydra.runtime.output_dir = str((sweep_dir / cfg.hydra.sweep.subdir).absolute())


def task_config(cfg: DictConfig) -> DictConfig:
    """The configuration without Hydra's own."""
    task = copy.deepcopy(cfg)
    with read_write(task), open_dict(task):
        del task["hydra"]
    return task


def write_account(cfg: DictConfig) -> None:
    """Write a job's `.hydra`, as Hydra does for a single run."""
    folder = Path(cfg.hydra.runtime.output_dir) / ".hydra"
    folder.mkdir(parents=True, exist_ok=True)
    OmegaConf.save(task_config(cfg), folder / "config.yaml")
    OmegaConf.save(OmegaConf.masked_copy(cfg, "hydra"), folder / "hydra.yaml")
    OmegaConf.save(cfg.hydra.overrides.task, folder / "overrides.yaml")


def job_return(cfg: DictConfig, summary: dict[str, Any]) -> JobReturn:
    """What Hydra's sweepers read of a job."""
    returned = JobReturn(
        overrides=list(cfg.hydra.overrides.task), cfg=task_config(cfg), hydra_cfg=OmegaConf.masked_copy(cfg, "hydra")
    )
    returned.working_dir, returned.task_name = cfg.hydra.runtime.output_dir, cfg.hydra.job.name
    returned.status = JobStatus.COMPLETED
    returned.return_value = math.nan if summary["status"] == "failed" else summary["final_return"]
    return returned


def explain(error: Exception, overrides: Sequence[str]) -> str:
    """One line for a job that cannot be composed; a key that its algorithm lacks is named with the nearest ones."""
    from bcq_exp.config import explain_unknown_key

    key = re.search(r"Could not override '([^']+)'", str(error))
    choices = dict(override.split("=", 1) for override in overrides if "=" in override)
    if key is None:
        return str(error).splitlines()[0] if isinstance(error, HydraException) else str(error)
    return explain_unknown_key(key[1], choices.get("algorithm"))


def _main_module() -> str:
    spec = getattr(sys.modules.get("__main__"), "__spec__", None)
    return spec.name if spec else ""
