"""Train one run, or a sweep with `-m`: `python -m bcq_exp.train algorithm=bcq dataset=pendulum-noisy seed=1`."""

import logging
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.types import OverrideType
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from bcq_exp.command_line.answers import in_one_answer, parsed
from bcq_exp.io.endings import in_one_line, mistakes_in_one_line
from bcq_exp.io.files import HeldLog
from bcq_exp.io.loggers.wandb_places import places
from bcq_exp.io.source import CONF_DIR
from bcq_exp.io.summary import final_figure
from bcq_exp.training.config import check
from bcq_exp.training.datasets import with_absolute_paths
from bcq_exp.training.experiment import build
from bcq_exp.training.job import Job
from bcq_exp.training.resuming import resumed
from bcq_exp.training.sections import plain
from bcq_exp.training.trainer import Trainer

log = logging.getLogger(__name__)


def main() -> None:
    """Train what is typed."""
    flags = {"-m", "--multirun"} & {*sys.argv}
    if flags:  # Hydra wants it in front of the overrides
        sys.argv[1:] = ["-m", *with_their_group([word for word in sys.argv[1:] if word not in flags])]
    with in_one_answer("config"):
        train()


def with_their_group(arguments: Sequence[str]) -> list[str]:
    """The words of a sweep, in which keys of a swept group are sweeps too, of one value.

    Hydra looks for a key that is not swept in the group's default choice: `algorithm=bcq,awac algorithm.lmbda=0.5`
    would fail, since discrete BCQ has none. A swept experiment may choose from any group.
    """
    typed = [override for argument in arguments if (override := parsed(argument))]
    swept = {override.key_or_group for override in typed if override.is_sweep_override()}
    plain = [each for each in typed if each.type == OverrideType.CHANGE and each.key_or_group not in swept]
    keys = [(each, *each.key_or_group.partition(".")[:2]) for each in plain]
    fixed = {each.input_line for each, group, dot in keys if dot and group != "hydra" and swept & {group, "experiment"}}
    return ["{}=choice({})".format(*each.split("=", 1)) if each in fixed else each for each in arguments]


@hydra.main(version_base="1.3", config_path=CONF_DIR, config_name="config")
def train(cfg: DictConfig) -> float | None:
    """One run; returns what `final_figure` finds, for sweepers that optimise it."""
    run_dir = Path(HydraConfig.get().runtime.output_dir)
    with in_one_line(f"python -m bcq_exp.train resume={run_dir}"), HeldLog() as held:
        with mistakes_in_one_line():
            trainer = prepare(cfg, run_dir)
        held.write_to(run_dir / "train.log")
        (summary,) = trainer.run()
        if summary["status"] == "failed":
            raise SystemExit(f"error: the loss is not finite at update {summary['failed_at']}; see {run_dir}")
        found = final_figure(summary)
        log.info("final %s %.1f in %s" if found else "no return is known; the run is in %s", *(found or ()), run_dir)
        for line in [f"report:           bcq-report {shlex.quote(str(run_dir))}", *places([run_dir], run_dir)]:
            log.info("%s", line)
    return found and found[1]


def prepare(cfg: DictConfig, run_dir: Path) -> Trainer:
    """Check the configuration, the run directory's own where a run is resumed, and put the run together."""
    hydra_cfg = HydraConfig.get()
    typed = list(hydra_cfg.overrides.task)
    kept: Any = None
    if cfg.get("resume"):
        cfg, typed = resumed(run_dir, cfg, typed)
    else:
        cfg = with_absolute_paths(cfg, Path(hydra_cfg.runtime.cwd))
        kept = OmegaConf.to_container(hydra_cfg, enum_to_str=True)
    sweep = Path(hydra_cfg.sweep.dir).name if hydra_cfg.mode == RunMode.MULTIRUN else None
    return build([Job(check(cfg), run_dir, plain(cfg), tuple(typed), sweep, kept)])


if __name__ == "__main__":
    main()
