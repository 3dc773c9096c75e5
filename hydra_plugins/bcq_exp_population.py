"""Hydra's `-m` for this project: a sweep is composed once for each set of group choices and trained as populations.

Imports nothing heavy: Hydra loads every plugin at each start, whatever the program.
"""

import copy
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

# A private name of Hydra, which has no public base for sweepers of ranges; pyproject.toml bounds Hydra below 1.4.
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.core.utils import JobReturn, JobStatus, configure_log
from hydra.errors import ConfigCompositionException, HydraException
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf, open_dict, read_write
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, OmegaConfBaseException


@dataclass
class PopulationLauncherConf:
    """Keys of `hydra.launcher`: those of `bcq_exp.sweeps.launch.Launch`."""

    _target_: str = "hydra_plugins.bcq_exp_population.PopulationLauncher"
    executor: str = "inprocess"
    max_members: int | None = None
    num_processes: int | None = None
    options: Any = None  # a mapping; one that stood here would refuse keys that it does not have


@dataclass
class OnceSweeperConf:
    """Keys of `hydra.sweeper`: those of Hydra's basic sweeper."""

    _target_: str = "hydra_plugins.bcq_exp_population.OnceSweeper"
    max_batch_size: int | None = None
    params: dict[str, str] | None = None


ConfigStore.instance().store(group="hydra/launcher", name="population", node=PopulationLauncherConf, provider="bcq_exp")
ConfigStore.instance().store(group="hydra/sweeper", name="once", node=OnceSweeperConf, provider="bcq_exp")


class OnceSweeper(BasicSweeper):
    """Hydra's basic sweeper without its first pass over all jobs, since the launcher composes them all before it starts
    any; and without a file of its own, since each run's directory holds its overrides.
    """

    def sweep(self, arguments: list[str]) -> Any:
        """Launch the jobs of a command line, batch by batch."""
        assert self.hydra_context is not None
        assert self.launcher is not None
        parser = OverridesParser.create(config_loader=self.hydra_context.config_loader)
        typed = parser.parse_overrides([*self._parse_config(), *arguments])
        results, num_jobs = [], 0
        for batch in self.split_arguments(typed, self.max_batch_size):
            results.append(self.launcher.launch(batch, initial_job_idx=num_jobs))
            num_jobs += len(batch)
        return results


@dataclass
class Composition:
    """One job's configuration. Hydra's part is plain values, since copying a DictConfig takes most of a start's time.

    Args:
        task: the configuration without Hydra's own.
        hydra: Hydra's own, its interpolations unresolved.
    """

    task: DictConfig
    hydra: dict[str, Any]

    @classmethod
    def split(cls, cfg: DictConfig) -> Self:
        """Take a whole configuration apart."""
        task: DictConfig = copy.deepcopy(cfg)
        hydra: Any = OmegaConf.to_container(cfg.hydra, enum_to_str=True)
        with read_write(task), open_dict(task):
            del task["hydra"]
        return cls(task, hydra)

    def with_values(self, values: Sequence[Override], overrides: Sequence[Override]) -> Self:
        """A copy with plain `key=value` overrides applied.

        Args:
            values: these.
            overrides: all of the job, which its configuration names.
        """
        task, names = copy.deepcopy(self.task), self.hydra["job"]["config"]["override_dirname"]
        for override in values:
            set_value(task, override)
        typed = {**self.hydra["overrides"], "task": [override.input_line for override in overrides]}
        job = {**self.hydra["job"], "override_dirname": dirname(overrides, **names)}
        return type(self)(task, {**self.hydra, "overrides": typed, "job": job})

    def place(self, number: int, sweep_dir: Path) -> Path:
        """Give the job its number and, by `hydra.sweep.subdir`, its directory in the sweep's."""
        job = {**self.hydra["job"], "num": number, "id": f"{self.hydra['job']['name']}_{number}"}
        whole = copy.deepcopy(self.task)
        with read_write(whole), open_dict(whole):
            whole["hydra"] = {"job": job, "subdir": self.hydra["sweep"]["subdir"], "runtime": self.hydra["runtime"]}
        run_dir = (sweep_dir / str(whole.hydra.subdir)).absolute()
        runtime = {**self.hydra["runtime"], "output_dir": str(run_dir)}
        self.hydra = {**self.hydra, "job": job, "runtime": runtime}
        return run_dir


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
        self.composed: dict[tuple[str, ...], Composition] = {}

    def compose(self, overrides: Sequence[str]) -> Composition:
        """The configuration of one job.

        Raises:
            HydraException: an override does not fit.
        """
        parsed = self.parser.parse_overrides(list(overrides))
        groups = [o for o in parsed if o.package is not None or self.loader.get_group_options(o.key_or_group)]
        values = [override for override in parsed if override not in groups]
        if any(o.is_add() or o.is_force_add() or o.is_delete() or o.is_hydra_override() for o in values):
            return self._composed(overrides)  # rare, and their order may matter
        choices = tuple(str(override.input_line) for override in groups)
        if choices not in self.composed:
            self.composed[choices] = self._composed(choices)
        return self.composed[choices].with_values(values, parsed)

    def _composed(self, overrides: Sequence[str]) -> Composition:
        return Composition.split(self.loader.load_sweep_config(self.master, list(overrides)))


class PopulationLauncher(Launcher):
    """Trains the jobs of a sweep as populations, in this process or by an executor.

    Args:
        keys: the arguments of `bcq_exp.sweeps.launch.Launch`.
    """

    def __init__(self, **keys: Any) -> None:
        self.keys: Any = OmegaConf.to_container(OmegaConf.create(keys), resolve=True)

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Keep Hydra's context and the configuration for `launch`.

        Raises:
            HydraException: the program is not the training entry point.
        """
        if task_function.__name__ != "train" or "bcq_exp.train" not in (task_function.__module__, _main_module()):
            raise HydraException("hydra/launcher=population serves bcq_exp.train only; use hydra/launcher=basic")
        self.context, self.config = hydra_context, config

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Compose and check every job, then run them group by group.

        Returns:
            For each job its final return; None where it diverged.

        Raises:
            SystemExit: with one message for all errors of all jobs, before any of them has started.
        """
        from bcq_exp.io.endings import in_one_line
        from bcq_exp.sweeps import sweep
        from bcq_exp.sweeps.launch import Launch
        from bcq_exp.training.config import check
        from bcq_exp.training.datasets import with_absolute_paths
        from bcq_exp.training.job import Job

        configure_log(self.config.hydra.hydra_logging, self.config.hydra.verbose)
        sweep_dir = Path(self.config.hydra.sweep.dir)
        try:
            launch = Launch(**self.keys | {"options": self.keys["options"] or {}})
        except ValueError as error:
            raise SystemExit(f"error: {error}") from None
        composer, errors = Composer(self.context, self.config), dict[str, None]()
        jobs: list[Job] = []
        compositions: list[Composition] = []
        for number, overrides in enumerate(job_overrides, start=initial_job_idx):
            try:
                made = composer.compose([override for override in overrides if not override.startswith("resume=")])
                run_dir = made.place(number, sweep_dir)
                made.task = with_absolute_paths(made.task, Path(made.hydra["runtime"]["cwd"]))
                resolved: Any = OmegaConf.to_container(made.task, resolve=True)
                # A GPU is looked for where the job will run: the machine that hands jobs to SLURM may have none.
                checkable = made.task
                if not launch.chosen.is_here:
                    checkable = made.task.copy()
                    checkable.device = "cpu"
                jobs.append(Job(check(checkable), run_dir, resolved, tuple(overrides), sweep_dir.name, made.hydra))
                compositions.append(made)
            except (HydraException, ValueError) as error:
                errors[explain(error, overrides)] = None
        if errors:
            raise SystemExit("error: " + "\n".join(errors))
        try:
            if self.config.resume is False and initial_job_idx == 0:
                sweep.put_aside(sweep_dir)
            with in_one_line():
                summaries = sweep.run(jobs, sweep_dir, launch, batch=initial_job_idx)
        except (ValueError, FileNotFoundError, sweep.GroupsDied) as error:
            raise SystemExit(f"error: {error}") from None
        return [job_return(made, summary) for made, summary in zip(compositions, summaries, strict=True)]


def job_return(made: Composition, summary: dict[str, Any]) -> JobReturn:
    """The result of a job, for Hydra's sweepers."""
    returned = JobReturn(overrides=made.hydra["overrides"]["task"], cfg=made.task, status=JobStatus.COMPLETED)
    returned.working_dir, returned.task_name = made.hydra["runtime"]["output_dir"], made.hydra["job"]["name"]
    returned.return_value = None if summary["status"] == "failed" else summary["final_return"]
    return returned


def explain(error: Exception, overrides: Sequence[str]) -> str:
    """One line for a job that cannot be composed; a key that its algorithm lacks is named with the nearest ones."""
    from bcq_exp.training.config import explain_unknown_key

    key = re.search(r"Could not override '([^']+)'", str(error))
    choices = dict(override.split("=", 1) for override in overrides if "=" in override)
    if key is None:
        return str(error).splitlines()[0] if isinstance(error, HydraException) else str(error)
    return explain_unknown_key(key[1], choices.get("algorithm"))


def _main_module() -> str:
    spec = getattr(sys.modules.get("__main__"), "__spec__", None)
    return spec.name if spec else ""
