"""Trained runs, read back from their directories."""

import logging
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import torch

from bcq_exp.checkpoint import latest_checkpoints, load_checkpoint
from bcq_exp.config import RunConfig, check
from bcq_exp.experiment import blank_policy
from bcq_exp.policies import Policy
from bcq_exp.report import grouped, read_runs
from bcq_exp.saved import saved_config

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
    """All runs at or below a directory that have ended well; of those that failed it is said that they are left out.

    Args:
        directory: of a run or of a sweep.
        device: where they shall be used, whatever they were trained on.
        allow_modules: that their environments may be imported from: see `saved_config`.

    Raises:
        ValueError: there is none, or one has no checkpoint, no configuration or one that does not pass its check.
    """
    if not directory.is_dir():
        raise ValueError(f"run={directory}: there is no such directory")
    found = []
    for kinds in grouped(read_runs([directory])).values():
        for name, runs in kinds.items():
            for run in runs:
                if run.summary["status"] != "finished":
                    log.warning("%s has failed and is left out", run.directory)
                    continue
                checkpoints = latest_checkpoints([run.directory])
                if not checkpoints:
                    raise ValueError(f"{run.directory} has no checkpoint, so there is no policy in it")
                found.append(
                    TrainedRun(
                        f"{name} seed={run.summary['seed']}",
                        run.directory,
                        _checked(run.directory, device, allow_modules),
                        checkpoints[0],
                        run.summary["final_return"],
                    )
                )
    if not found:
        raise ValueError(f"run={directory}: all runs there have failed")
    return found


def _checked(directory: Path, device: str, allow_modules: Collection[str]) -> RunConfig:
    cfg = saved_config(directory, allow_modules=allow_modules)
    cfg["device"] = device
    cfg["storage"] = "auto"
    cfg.setdefault("eval_max_steps", 1)  # older runs lack it; the evaluation has its own
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
