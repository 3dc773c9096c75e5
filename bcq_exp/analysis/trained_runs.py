"""Trained runs with their policies, read from their checkpoints; `results.py` reads figures only."""

import logging
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import torch
from omegaconf import DictConfig, OmegaConf

from bcq_exp.analysis.results import grouped, read_results
from bcq_exp.io.checkpoint import common_checkpoints, load_checkpoint
from bcq_exp.policies import Policy
from bcq_exp.training.config import RunConfig, check
from bcq_exp.training.directories import MANIFEST, read_manifest
from bcq_exp.training.experiment import blank_policy
from bcq_exp.training.manifest import spaces_in
from bcq_exp.training.saved import ModuleNotAllowed, saved_config

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainedRun:
    """A run that has finished, ready to load its policy.

    Args:
        setting: the kind that tells it apart from the runs read with it that differ in more than the seed.
        seed: of the run.
        directory: of the run.
        cfg: its checked configuration.
        checkpoint: its last one.
        online_return: mean undiscounted return of the last evaluation in training; None without an environment.
    """

    setting: str
    seed: int
    directory: Path
    cfg: RunConfig
    checkpoint: Path
    online_return: float | None

    @property
    def label(self) -> str:
        """The setting and the seed."""
        return f"{self.setting} seed={self.seed}"


def trained_runs(directory: Path, device: str, *, allow_modules: Collection[str] = ()) -> list[TrainedRun]:
    """Read all finished runs at or below a directory. Failed and damaged runs are skipped with a warning.

    Arguments and errors are those of `runs_and_omissions`.
    """
    runs, reasons = runs_and_omissions(directory, device, allow_modules=allow_modules)
    for reason in reasons:
        log.warning("%s; the run is left out", reason)
    return runs


def runs_and_omissions(
    directory: Path, device: str, *, allow_modules: Collection[str] = ()
) -> tuple[list[TrainedRun], list[str]]:
    """Read all finished runs at or below a directory; return also why each other run is left out.

    A run that has not ended, or whose summary is damaged, is known by its manifest.

    Args:
        directory: of a run or of a sweep.
        device: where their policies are used, whatever device they were trained on.
        allow_modules: modules that their environments may be imported from: see `saved_config`.

    Raises:
        ModuleNotAllowed: a run's environment is in a module that is not allowed.
        ValueError: there is no such run, or a run's configuration does not pass its check.
    """
    if not directory.is_dir():
        raise ValueError(f"run={directory}: there is no such directory")
    runs, reasons = [], []
    groups = (kind for kinds in grouped(read_results([directory])).values() for kind in kinds.items())
    ended = set[Path]()
    for name, result in ((name, result) for name, group in groups for result in group):
        ended.add(result.directory)
        if not result.is_finished:
            reasons.append(f"{result.directory} has {result.summary['status']}")
            continue
        try:
            checkpoint = last_checkpoint(result.directory)
            cfg = saved_config(result.directory, allow_modules=allow_modules)
        except ModuleNotAllowed:
            raise
        except ValueError as error:
            reasons.append(str(error))
            continue
        checked = _checked(cfg, result.directory, device)
        seed, final_return = result.summary["seed"], result.summary["final_return"]
        runs.append(TrainedRun(name, seed, result.directory, checked, checkpoint, final_return))
    begun = {path.parent for path in directory.rglob(MANIFEST)}
    reasons += [f"{run_dir} has not ended, or its summary is damaged" for run_dir in sorted(begun - ended)]
    if not runs:
        raise ValueError("\n".join([f"run={directory}: all runs there have failed or are damaged", *reasons]))
    return runs, reasons


def last_checkpoint(directory: Path) -> Path:
    """The last checkpoint of a run that has ended.

    Raises:
        ValueError: there is none, or it is damaged. An earlier one does not count: its weights are of another update
            than the one that the summary reports.
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
    cfg["precision"], cfg["updates_per_launch"] = "fp32", "auto"  # of updates, which an evaluation does not make
    cfg["logger"] = {"name": "csv"}  # an evaluation logs nothing
    # Older runs lack these keys. None changes an evaluation, which has an `eval_max_steps` of its own.
    OmegaConf.update(cfg, "allow_code_change", False, force_add=True)
    cfg.setdefault("eval_max_steps", 1)
    try:
        return check(cfg, spaces_in(read_manifest(directory)))
    except ValueError as error:
        raise ValueError(f"{directory}: its configuration cannot be used\n{error}") from None


def load_policy(run: TrainedRun) -> Policy:
    """Load the policy of a run's last checkpoint, in evaluation mode; its random streams start from the run's seed.

    Raises:
        ValueError: the checkpoint is damaged, or does not fit the configuration beside it.
    """
    policy = blank_policy(run.cfg, torch.device(run.cfg.schedule.device))
    state = load_checkpoint(run.checkpoint)
    try:
        policy.load_state_dict(state["learner"]["policy"]["module"])
    except (KeyError, TypeError, AttributeError, RuntimeError) as error:
        raise ValueError(f"{run.checkpoint} does not fit the configuration of its run: {error}") from None
    return policy.train(False)
