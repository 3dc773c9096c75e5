"""Train one run, or a sweep with `-m`: `python -m bcq_exp.train algorithm=bcq dataset=pendulum-noisy seed=1`."""

import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import OverrideType
from hydra.errors import OverrideParseException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from bcq_exp import experiment
from bcq_exp.config import CONF_DIR, check
from bcq_exp.endings import in_one_line
from bcq_exp.saved import saved_config, saved_overrides
from bcq_exp.trainer import Trainer

log = logging.getLogger(__name__)


def main() -> None:
    """Train what is typed."""
    if {"-m", "--multirun"} & {*sys.argv}:
        sys.argv[1:] = with_their_group(sys.argv[1:])
    train()


def with_their_group(arguments: Sequence[str]) -> list[str]:
    """What is typed for a sweep; keys of a swept group become sweeps too, of one value.

    Hydra looks for a key that is not swept in the group's default choice: `algorithm=bcq,awac algorithm.lmbda=0.5`
    would fail, since discrete BCQ has none.
    """
    try:
        typed = OverridesParser.create().parse_overrides([each for each in arguments if not each.startswith("-")])
    except OverrideParseException:
        return list(arguments)  # Hydra says what is wrong with them
    swept = {override.key_or_group for override in typed if override.is_sweep_override()}
    plain = [each for each in typed if each.type == OverrideType.CHANGE and each.key_or_group not in swept]
    fixed = {each.input_line for each in plain if each.key_or_group.split(".")[0] in swept}
    return ["{}=choice({})".format(*each.split("=", 1)) if each in fixed else each for each in arguments]


@hydra.main(version_base="1.3", config_path=CONF_DIR, config_name="config")
def train(cfg: DictConfig) -> float | None:
    """One run; returns the final mean return, for sweepers that optimise it."""
    run_dir = Path(HydraConfig.get().runtime.output_dir)
    with in_one_line(f"python -m bcq_exp.train resume={run_dir}"):
        try:
            trainer = prepare(cfg, run_dir)
        except (ValueError, FileNotFoundError) as error:
            discard(run_dir)
            raise SystemExit(f"error: {error}") from None
        (summary,) = trainer.run()
    if summary["status"] == "failed":
        raise SystemExit(f"error: the loss is not finite at update {summary['failed_at']}; see {run_dir}")
    final_return: float = summary["final_return"]
    log.info("final return %.1f in %s", final_return, run_dir)
    return final_return


def prepare(cfg: DictConfig, run_dir: Path) -> Trainer:
    """Check the configuration, the run directory's own where a run is resumed, and put the run together."""
    if cfg.resume:
        others = [override for override in HydraConfig.get().overrides.task if not override.startswith("resume=")]
        if others:
            raise ValueError(f"resume goes on with the run's own configuration: drop {' '.join(others)}")
        try:
            cfg = saved_config(run_dir)
        except ValueError as error:
            raise ValueError(f"resume={cfg.resume}: {error}") from None
    resolved: Any = OmegaConf.to_container(cfg, resolve=True)
    overrides = saved_overrides(run_dir)  # of the run's first start
    hydra_cfg = HydraConfig.get()
    sweep = Path(hydra_cfg.sweep.dir).name if hydra_cfg.mode == RunMode.MULTIRUN else None
    return experiment.build([experiment.Job(check(cfg), run_dir, resolved, overrides, sweep)])


def discard(run_dir: Path) -> None:
    """Remove what Hydra wrote for a run or a sweep that never began, and the folders that are left empty."""
    if any((run_dir / name).exists() for name in ("manifest.json", "sweep.json")):
        return
    logging.shutdown()
    run_dir = run_dir.absolute()
    for path in [*run_dir.glob(".hydra/*.yaml"), run_dir / "train.log", run_dir / "multirun.yaml"]:
        path.unlink(missing_ok=True)
    for folder in (run_dir / ".hydra", run_dir, *run_dir.parents):
        if folder == Path.cwd() or (folder.exists() and any(folder.iterdir())):
            return
        if folder.exists():
            folder.rmdir()


if __name__ == "__main__":
    main()
