"""Hydra's `-m` for this project: a sweep is composed once for each set of group choices and trained as populations.

Imports nothing heavy: Hydra loads every plugin at each start, whatever the program.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

# A private name of Hydra, which has no public base for sweepers of ranges; pyproject.toml bounds Hydra below 1.4.
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.utils import JobReturn, JobStatus, configure_log
from hydra.errors import HydraException
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf

from hydra_plugins.bcq_exp_composition import Composer

if TYPE_CHECKING:
    from bcq_exp.sweeps.launch import Launch
    from bcq_exp.sweeps.sweep import Pruning
    from bcq_exp.training.job import Job


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
            For each job its final return, or estimate; None where it diverged or has neither.

        Raises:
            SystemExit: with one message for all errors of all jobs, before any of them has started.
        """
        from bcq_exp.sweeps import sweep

        jobs = self.composed(job_overrides, initial_job_idx)
        if self.config.resume is False and initial_job_idx == 0:
            sweep.put_aside(self.sweep_dir)
        summaries = self.train(jobs, initial_job_idx)
        return [job_return(job, summary) for job, summary in zip(jobs, summaries, strict=True)]

    @property
    def sweep_dir(self) -> Path:
        """The sweep's directory."""
        return Path(self.config.hydra.sweep.dir)

    @property
    def checked_keys(self) -> "Launch":
        """The keys of `hydra.launcher`.

        Raises:
            SystemExit: one of them has a value that is not allowed.
        """
        from bcq_exp.sweeps.launch import Launch

        try:
            return Launch(**self.keys | {"options": self.keys["options"] or {}})
        except ValueError as error:
            raise SystemExit(f"error: {error}") from None

    def composed(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> list["Job"]:
        """Compose and check every job.

        Raises:
            SystemExit: with one message for all errors of all jobs.
        """
        from bcq_exp.training.config import checked
        from bcq_exp.training.job import Job
        from bcq_exp.training.sections import Answers

        configure_log(self.config.hydra.hydra_logging, self.config.hydra.verbose)
        launch, sweep_dir = self.checked_keys, self.sweep_dir
        composer, answers = Composer(self.context, self.config), Answers()
        jobs, errors = list[Job](), dict[str, None]()
        for number, overrides in enumerate(job_overrides, start=initial_job_idx):
            try:
                typed = [override for override in overrides if not override.startswith("resume=")]
                made = composer.compose(typed, number)
                # A GPU is looked for where the job will run: the machine that hands jobs to SLURM may have none.
                cfg = checked(made.task, answers, is_here=launch.chosen.is_here)
                jobs.append(Job(cfg, made.run_dir, made.task, tuple(overrides), sweep_dir.name, made.hydra))
            except (HydraException, ValueError) as error:
                errors[explain(error, overrides)] = None
        if errors:
            raise SystemExit("error: " + "\n".join(errors))
        return jobs

    def train(
        self,
        jobs: Sequence["Job"],
        initial_job_idx: int,
        *,
        pruning: "Pruning | None" = None,
        is_reported: bool = True,
    ) -> list[dict[str, Any]]:
        """Run jobs of `composed`, and return their summaries.

        Args:
            jobs: all of a batch.
            initial_job_idx: number of the first one in the sweep.
            pruning: as for `sweep.run`.
            is_reported: print the tables of all runs at the end.

        Raises:
            SystemExit: with one message for what is wrong with data or directories.
        """
        from bcq_exp.io.endings import in_one_line, mistakes_in_one_line
        from bcq_exp.sweeps import sweep

        with in_one_line(), mistakes_in_one_line(sweep.GroupsDied):
            return sweep.run(
                jobs,
                self.sweep_dir,
                self.checked_keys,
                batch=initial_job_idx,
                pruning=pruning,
                is_reported=is_reported,
            )


def job_return(job: "Job", summary: dict[str, Any]) -> JobReturn:
    """The result of a job, for Hydra's sweepers; its configuration is in its directory."""
    from bcq_exp.io.summary import final_figure

    assert job.hydra is not None
    returned = JobReturn(overrides=job.hydra["overrides"]["task"], status=JobStatus.COMPLETED)
    returned.working_dir, returned.task_name = str(job.run_dir), job.hydra["job"]["name"]
    found = None if summary["status"] == "failed" else final_figure(summary)
    returned.return_value = found and found[1]
    return returned


def explain(error: Exception, overrides: Sequence[str]) -> str:
    """What is wrong with a job: one line, or one for each thing that the check has found."""
    from bcq_exp.command_line.answers import answer

    return answer(error, overrides, "config") if isinstance(error, HydraException) else str(error)


def _main_module() -> str:
    spec = getattr(sys.modules.get("__main__"), "__spec__", None)
    return spec.name if spec else ""
