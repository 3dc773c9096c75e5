"""Runs as their loggers are told of them, from the job that begins one or from its directory."""

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from filelock import FileLock, Timeout

from bcq_exp.io.loggers.form import LoggedRun
from bcq_exp.io.loggers.wandb import WandbLoggerConfig
from bcq_exp.io.loggers.wandb_file import KEPT, Labels, write_offline_run
from bcq_exp.io.masking import masked, masked_words
from bcq_exp.io.overrides import own_settings, short_names
from bcq_exp.training.directories import ACCOUNT, LOCK, read_manifest, writer
from bcq_exp.training.saved import choice, saved_config, saved_overrides
from bcq_exp.training.sections import plain, typed


class InTraining(ValueError):
    """Another process trains the run."""


def logged_run(run_dir: Path, resolved: Mapping[str, Any], overrides: Sequence[str], sweep: str | None) -> LoggedRun:
    """A run, named by algorithm, dataset, seed and the words that set it apart, with the manifest of its directory.

    Words that were typed for all runs of its sweep are not among them.

    Args:
        run_dir: its directory.
        resolved: its whole configuration as plain values.
        overrides: the words that were typed for it.
        sweep: name of its sweep; None for a run of its own.
    """
    algorithm = resolved["algorithm"]["name"]
    kind = f"{algorithm}-{resolved['dataset']['name']}"
    manifest = masked(read_manifest(run_dir) or {})
    shared = shlex.split(manifest.get("command", "")) if sweep else []
    settings = [word for word in own_settings(masked_words(overrides)) if word not in shared]
    names = short_names(settings)
    return LoggedRun(
        run_dir=run_dir,
        name=" ".join([f"{kind}-seed{resolved['seed']}", *(names[word] for word in settings)]),
        group=sweep or kind,
        kind=algorithm,
        config=masked(resolved),
        manifest=manifest,
    )


def saved_run(run_dir: Path) -> LoggedRun:
    """A run, read from its directory; raises ValueError where its configuration or manifest is damaged."""
    cfg = saved_config(run_dir, allow_modules=None)  # nothing is imported here
    return logged_run(run_dir, plain(cfg), saved_overrides(run_dir), _sweep(run_dir))


class Written(NamedTuple):
    """A run, the directory `offline-run-DATE-ID` that was written for it, and whether it asks for its artifact."""

    run: LoggedRun
    folder: Path
    has_artifact: bool


def write_wandb_file(run_dir: Path) -> Written:
    """Write the offline W&B run of a run directory from what is on disk, whatever its logger.

    A run that was killed has the rows up to its last one. The keys `logger.project`, `entity`, `group`, `tags` and
    `job_type` are those of its configuration, or of `conf/logger/wandb.yaml` where its logger has no such keys.

    Raises:
        InTraining: another process trains the run.
        ValueError: the directory holds no run, or a file of it is damaged.
        OSError: a file cannot be read or written.
    """
    run = saved_run(run_dir)
    try:
        with FileLock(run_dir / LOCK, timeout=0):
            section = _labelling(run)
            return Written(run, write_offline_run(run, section.labels(run)), section.artifacts)
    except Timeout:
        raise InTraining(f"{writer(run_dir)} trains {run_dir}; it logs the run to W&B at its end") from None


def saved_labels(run_dir: Path) -> Labels | None:
    """What W&B files the run of a directory under; None where it has no W&B run yet.

    Raises:
        ValueError: the directory holds no run, or a file of it is damaged.
    """
    if not (run_dir / KEPT).exists():
        return None
    run = saved_run(run_dir)
    return _labelling(run).labels(run)


def _labelling(run: LoggedRun) -> WandbLoggerConfig:
    """The section `logger` of a run, with W&B's keys."""
    usual = {key.removeprefix("logger."): value for key, value in choice("logger", "wandb").items()}
    given = {key: value for key, value in run.config["logger"].items() if key in usual}
    section: WandbLoggerConfig
    section, errors = typed({**usual, **given}, WandbLoggerConfig, "logger.")
    if errors:
        raise ValueError("\n".join([f"{run.run_dir}: its logger cannot be read", *errors]))
    return section


def _sweep(run_dir: Path) -> str | None:
    """The name of the sweep whose directory a run's lies in."""
    return next((folder.name for folder in run_dir.absolute().parents if (folder / ACCOUNT).exists()), None)
