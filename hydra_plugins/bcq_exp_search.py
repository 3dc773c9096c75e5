"""Hydra's `-m` with `hydra/sweeper=search`: hyperparameters by Optuna, a batch of trials a population.

Imports nothing heavy: Hydra loads every plugin at each start, whatever the program.
"""

import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep, Override, RangeSweep
from hydra.core.plugins import Plugins
from hydra.core.utils import configure_log
from hydra.errors import HydraException
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, RunMode, TaskFunction
from omegaconf import DictConfig, OmegaConf, open_dict, read_write

from hydra_plugins.bcq_exp_population import PopulationLauncher


@dataclass
class SearchSweeperConf:
    """Keys of `hydra.sweeper`: those of `bcq_exp.search.settings.Settings`, and the space as Hydra's sweeps."""

    _target_: str = "hydra_plugins.bcq_exp_search.SearchSweeper"
    num_trials: int = 32
    batch_size: int = 8
    num_seeds: int | None = None
    seeds: list[int] | None = None
    sampler: str = "tpe"
    seed: int = 0
    objectives: list[str] = field(default_factory=lambda: ["return"])
    storage: str | None = None
    pruning: str = "none"
    evaluate: Any = None  # a mapping; one that stood here would refuse keys that it does not have
    params: dict[str, Any] = field(default_factory=dict)


ConfigStore.instance().store(group="hydra/sweeper", name="search", node=SearchSweeperConf, provider="bcq_exp")


class SearchSweeper(Sweeper):
    """Asks Optuna for trials, trains each batch of them as populations, and tells Optuna the values.

    Args:
        params: the space: overrides as of a command line, whose sweeps are searched. Typed ones take their places.
        evaluate: keys of `conf/evaluate.yaml` for the objective `ope`; fitted Q evaluation where none is chosen.
        keys: other arguments of `Settings`.
    """

    def __init__(self, params: Any, evaluate: Any, **keys: Any) -> None:
        self.params: Any = OmegaConf.to_container(OmegaConf.create(params))
        self.evaluate: Any = OmegaConf.to_container(OmegaConf.create({"given": evaluate}))
        self.keys: Any = OmegaConf.to_container(OmegaConf.create(keys))

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Make the launcher.

        Raises:
            SystemExit: it is not the one of this project.
        """
        made = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )
        if not isinstance(made, PopulationLauncher):
            raise SystemExit("error: hydra/sweeper=search needs hydra/launcher=population")
        self.launcher: PopulationLauncher = made
        self.context, self.master = hydra_context, config

    def sweep(self, arguments: list[str]) -> Any:
        """Search the space of a command line.

        Raises:
            SystemExit: with one message for what is wrong, before any trial has started.
        """
        if importlib.util.find_spec("optuna") is None:
            raise SystemExit("error: hydra/sweeper=search needs optuna: pip install 'bcq_exp[optuna]'")
        from bcq_exp.io.endings import in_one_line, mistakes_in_one_line
        from bcq_exp.search.pruning import Halving
        from bcq_exp.search.report import FILES, present
        from bcq_exp.search.settings import Settings
        from bcq_exp.search.study import Study
        from bcq_exp.sweeps import sweep

        configure_log(self.master.hydra.hydra_logging, self.master.hydra.verbose)
        sweep_dir = self.launcher.sweep_dir.absolute()
        overrides = self.overrides(arguments)
        with mistakes_in_one_line(HydraException):
            searched = {
                each.get_key_element(): space for each in overrides if (space := distribution(each)) is not None
            }
            fixed = [line for each in overrides if (line := fixed_line(each)) is not None]
            settings = Settings(**self.keys, request=self.request(), space=searched)
        self.check(settings, fixed)
        if self.master.resume is False and settings.storage is not None:
            raise SystemExit(
                f"error: resume=false begins a study anew, and hydra.sweeper.storage={settings.storage} may have one:"
                " give another storage, without resume=false"
            )

        def train(words: list[list[str]], number: int, halving: Halving | None) -> Sequence[Path]:
            jobs = self.launcher.composed(words, number)
            run_dirs = [job.run_dir for job in jobs]
            pruning = halving.among(run_dirs) if halving else None
            self.launcher.train(jobs, number, pruning=pruning, is_reported=False)
            return run_dirs

        with in_one_line(), mistakes_in_one_line():
            if self.master.resume is False:
                sweep.put_aside(sweep_dir, FILES)
            with Study.opened(settings, sweep_dir) as study:
                study.run(train, fixed)
                present(study, sweep_dir)

    def overrides(self, arguments: Sequence[str]) -> list[Override]:
        """The overrides of `params`, then those that are typed; a key that is in both is as it is typed.

        Raises:
            SystemExit: a value of `params` is no override's, or a seed is given.
        """
        parser = OverridesParser.create(config_loader=self.context.config_loader)
        typed = parser.parse_overrides(list(arguments))
        keys = {each.key_or_group for each in typed}
        own = []
        for key, value in self.params.items():
            try:
                (override,) = parser.parse_overrides([f"{key}={value}"])
            except HydraException as error:
                raise SystemExit(f"error: hydra.sweeper.params: {str(error).splitlines()[0]}") from None
            own += [override] if override.key_or_group not in keys else []
        if "seed" in {each.key_or_group for each in (*own, *typed)}:
            raise SystemExit(
                "error: a trial's runs differ in their seed, so that none is typed: give hydra.sweeper.num_seeds=3 or"
                " hydra.sweeper.seeds=[0,1,2]"
            )
        return [*own, *typed]

    def request(self) -> Any:
        """The checked configuration of off-policy estimates.

        Raises:
            HydraException: there is no such key.
            ValueError: a value is not allowed, or there are no keys.
        """
        from bcq_exp.selection.request import checked_request

        given = self.evaluate["given"] or {}
        if not isinstance(given, dict):
            raise ValueError(f"hydra.sweeper.evaluate={given} is no mapping, like {{ope: fqe, num_updates: 5000}}")
        lines = [f"{key}={value}" for key, value in {"run": "SWEEP", "ope": "fqe", **given}.items()]
        cfg = self.context.config_loader.load_configuration("evaluate", lines, RunMode.RUN)
        with read_write(cfg), open_dict(cfg):
            del cfg["hydra"]
        return checked_request(cfg)

    def check(self, settings: Any, fixed: Sequence[str]) -> None:
        """Compose and check a run at each end of the space, the others at their first; read the data of the first.

        Raises:
            SystemExit: with one message for all that is wrong with them.
        """
        from bcq_exp.io.endings import mistakes_in_one_line
        from bcq_exp.search.pruning import PRUNINGS
        from bcq_exp.search.samplers import ends
        from bcq_exp.selection.request import check_fit
        from bcq_exp.sweeps.grouping import plan

        launch = self.launcher.checked_keys
        if PRUNINGS[settings.pruning] is not None and launch.chosen.has_processes:
            raise SystemExit(
                f"error: hydra.sweeper.pruning={settings.pruning} compares trials that train in this process:"
                f" hydra.launcher.executor={launch.executor} gives each group one of its own; drop one of both"
            )
        of_each = {key: ends(each) for key, each in settings.space.items()}
        first = {key: values[0] for key, values in of_each.items()}
        corners = [first, *({**first, key: value} for key, values in of_each.items() for value in values[1:])]
        seed = f"seed={settings.each_seed[0]}"
        words = [[*fixed, *(f"{key}={value}" for key, value in corner.items()), seed] for corner in corners]
        jobs = self.launcher.composed(words, 0)
        with mistakes_in_one_line():
            if settings.is_estimated:
                check_fit(settings.request, jobs[0].cfg)
            settings.check_measured(jobs[0].cfg)
            plan(jobs[:1], self.launcher.sweep_dir.absolute(), launch)


def fixed_line(override: Override) -> str | None:
    """The override as all trials have it; None where it is searched. A choice of one is fixed."""
    if not override.is_sweep_override():
        return override.input_line
    if override.is_choice_sweep() and len(texts := list(override.sweep_string_iterator())) == 1:
        return f"{override.get_key_element()}={texts[0]}"
    return None


def distribution(override: Override) -> Any:
    """What Optuna draws a searched key from; None for a key that is fixed.

    `interval(a, b)` is real and uniform, `int(interval(a, b))` integer with both ends, `tag(log, ...)` uniform in the
    logarithm; `range(a, b, step)` has the values that it has in a sweep; `choice(a, b)` and `a,b` have no order.

    Raises:
        ValueError: a sweep has no values, or cannot be logarithmic.
    """
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if fixed_line(override) is not None:
        return None
    line, value = override.input_line, override.value()
    is_log = "log" in getattr(value, "tags", ())
    match value:
        case IntervalSweep(start=start, end=end):
            kind = IntDistribution if isinstance(start, int) else FloatDistribution
            if start is None or end is None or start >= end or (is_log and start <= 0):
                raise ValueError(f"{line}: give interval(a,b) with a below b" + (", and a above 0" if is_log else ""))
            return kind(start, end, log=is_log)
        case RangeSweep():
            numbers = sorted(value.range())
            if len(numbers) < 2 or is_log:
                raise ValueError(f"{line}: give a range with two values or more, and no tag")
            step = numbers[1] - numbers[0]
            kind = IntDistribution if all(isinstance(number, int) for number in numbers) else FloatDistribution
            return kind(numbers[0], numbers[-1], step=step)
    texts = list(override.sweep_string_iterator())
    if is_log or len({*texts}) < len(texts):
        raise ValueError(f"{line}: give different choices, and no tag; numbers on a scale are an interval or a range")
    return CategoricalDistribution(texts)
