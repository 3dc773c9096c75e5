"""Trained runs, read back from their directories."""

import logging
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import torch
from omegaconf import DictConfig, OmegaConf

from bcq_exp.analysis.report import grouped, read_runs
from bcq_exp.io.checkpoint import common_checkpoints, load_checkpoint
from bcq_exp.policies import Policy
from bcq_exp.training.config import RunConfig, check
from bcq_exp.training.experiment import blank_policy
from bcq_exp.training.saved import ModuleNotAllowed, saved_config

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainedRun:
    """A run that has ended well.

    Args:
        label: what sets it apart from those that it was read with.
        directory: of the run.
        cfg: its checked configuration.
        checkpoint: its last one.
        online_return: mean undiscounted return of its last evaluation while it was trained.
    """

    label: str
    directory: Path
    cfg: RunConfig
    checkpoint: Path
    online_return: float


def trained_runs(directory: Path, device: str, *, allow_modules: Collection[str] = ()) -> list[TrainedRun]:
    """All runs at or below a directory that have ended well; failed and damaged ones are left out with a warning.

    Args:
        directory: of a run or of a sweep.
        device: where they shall be used, whatever they were trained on.
        allow_modules: that their environments may be imported from: see `saved_config`.

    Raises:
        ModuleNotAllowed: the environment of one is in a module that is not allowed.
        ValueError: there is none, or the configuration of one does not pass its check.
    """
    if not directory.is_dir():
        raise ValueError(f"run={directory}: there is no such directory")
    found, reasons = [], []
    for kinds in grouped(read_runs([directory])).values():
        for name, runs in kinds.items():
            for run in runs:
                if run.summary["status"] != "finished":
                    reasons.append(f"{run.directory} has failed")
                    continue
                try:
                    checkpoint = last_checkpoint(run.directory)
                    cfg = saved_config(run.directory, allow_modules=allow_modules)
                except ModuleNotAllowed:
                    raise
                except ValueError as error:
                    reasons.append(str(error))
                    continue
                found.append(
                    TrainedRun(
                        f"{name} seed={run.summary['seed']}",
                        run.directory,
                        _checked(cfg, run.directory, device),
                        checkpoint,
                        run.summary["final_return"],
                    )
                )
    if not found:
        raise ValueError("\n".join([f"run={directory}: all runs there have failed or are damaged", *reasons]))
    for reason in reasons:
        log.warning("%s; the run is left out", reason)
    return found


def last_checkpoint(directory: Path) -> Path:
    """The last checkpoint of a run that has ended.

    Raises:
        ValueError: there is none, or it is damaged: what is left are weights of an update that no summary speaks of.
    """
    checkpoints = common_checkpoints([directory])
    if not checkpoints:
        raise ValueError(f"{directory} has no checkpoint, so there is no policy in it; resume={directory} writes one")
    (path,) = checkpoints[0]
    try:
        load_checkpoint(path)
    except ValueError as error:
        raise ValueError(f"{error}; resume={directory} writes it anew") from None
    return path


def _checked(cfg: DictConfig, directory: Path, device: str) -> RunConfig:
    cfg["device"] = device
    cfg["storage"] = "auto"
    cfg["logger"] = {"name": "csv"}  # an evaluation logs nothing
    # Older runs lack these: the evaluation has a limit of its own, and no others change what is evaluated.
    OmegaConf.update(cfg, "allow_code_change", False, force_add=True)
    cfg.setdefault("eval_max_steps", 1)
    if OmegaConf.select(cfg, "dataset.format") == "h5":
        cfg.dataset.setdefault("max_episode_steps", None)
    try:
        return check(cfg)
    except ValueError as error:
        raise ValueError(f"{directory}: its configuration cannot be used\n{error}") from None


def load_policy(run: TrainedRun) -> Policy:
    """The policy of a run's last checkpoint, in evaluation mode, its streams as the run's seed starts them.

    Raises:
        ValueError: the checkpoint is damaged, or of another configuration than the one beside it.
    """
    policy = blank_policy(run.cfg, torch.device(run.cfg.schedule.device))
    state = load_checkpoint(run.checkpoint)
    try:
        policy.load_state_dict(state["learner"]["policy"]["module"])
    except (KeyError, TypeError, AttributeError, RuntimeError) as error:
        raise ValueError(f"{run.checkpoint} does not fit the configuration of its run: {error}") from None
    return policy.train(False)
