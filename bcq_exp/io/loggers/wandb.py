"""Weights & Biases: a view of `metrics.csv`, live or by a file that is written when the run ends."""

import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from bcq_exp.fields import one_of
from bcq_exp.io.files import read_json, write_json
from bcq_exp.io.loggers.form import LoggedRun, Logger, LoggerConfig, Loggers
from bcq_exp.io.loggers.wandb_file import KEPT, Labels
from bcq_exp.io.loggers.wandb_live import WandbLive, quiet_client, say_once, write_quietly

MAX_NAME = 128  # characters that W&B's server takes
LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789"  # of a run's id
ONLINE, OFFLINE, DISABLED = MODES = ("online", "offline", "disabled")
VARIABLE = "WANDB_MODE"
OTHER_WORDS = {"run": ONLINE, "dryrun": OFFLINE}  # that WANDB_MODE has had


class WandbFile(Logger):
    """A W&B run that is written to an offline file at its end, from `metrics.csv`: each row once, whatever happened.

    Args:
        run: the run.
        labels: what W&B files it under.
    """

    def __init__(self, run: LoggedRun, labels: Labels) -> None:
        self._run, self._labels = run, labels

    def log(self, update: int, metrics: Mapping[str, float]) -> None:
        """Nothing: the row is in `metrics.csv`."""

    def finish(self, summary: Mapping[str, Any] | None) -> None:
        """Write the file; W&B's table has the figures of `summary.json`."""
        write_quietly(self._run, self._labels)


def is_logged_in() -> bool:
    """Whether W&B's client has credentials of its user; nobody is asked, and no server is spoken to.

    Raises:
        ValueError: there are some, and they are no credentials.
    """
    wandb = quiet_client()
    from wandb.sdk.lib import wbauth

    try:
        host = wandb.sdk.wandb_setup.singleton().settings.base_url
        known = wbauth.authenticate_session(host=host, source="bcq_exp", prompt=False, update_session=False)
        return known is not None
    except wandb.Error as error:
        raise ValueError(f"W&B: {error}") from None


def usual_mode() -> str:
    """Online where the user is logged in, else offline."""
    try:
        return ONLINE if is_logged_in() else OFFLINE
    except ValueError as error:
        say_once(f"{error}; runs are logged offline")
        return OFFLINE


def agents_id() -> str | None:
    """The id that a W&B agent has given the one run of this process; None where no agent began it."""
    return os.environ.get("WANDB_RUN_ID") if os.environ.get("WANDB_SWEEP_ID") else None


@dataclass(kw_only=True)
class WandbLoggerConfig(LoggerConfig):
    """The names under which W&B files a run; the group defaults to `LoggedRun.group`, the job type to its kind.

    `artifacts`: whether the policy of a run that has finished is uploaded with it.
    """

    later_keys: ClassVar[Mapping[str, Any]] = {"mode": None, "entity": None, "artifacts": False}

    mode: str | None = one_of(*MODES)
    entity: str | None
    project: str
    group: str | None
    tags: list[str]
    job_type: str | None
    artifacts: bool

    def errors(self) -> list[str]:
        """An error where a run cannot be online or WANDB_MODE is no mode."""
        word = os.environ.get(VARIABLE)
        if self.mode is None and word and word not in {*MODES, *OTHER_WORDS}:
            return [f"{VARIABLE}={word} is none of {', '.join(MODES)}"]
        try:
            if self._given == ONLINE and not is_logged_in():
                source = f"logger.mode={ONLINE}" if self.mode else f"{VARIABLE}={word}"
                return [f"{source} needs a login: `wandb login`, or WANDB_API_KEY; logger.mode={OFFLINE} does without"]
        except ValueError as error:
            return [f"{error}; logger.mode={OFFLINE} does without a login"]
        return []

    @property
    def _given(self) -> str | None:
        """The mode that is asked for; None where the login decides."""
        word = os.environ.get(VARIABLE) or None
        return self.mode or (None if word is None else OTHER_WORDS.get(word, word))

    def labels(self, run: LoggedRun) -> Labels:
        """What W&B files a run under; its id, its group and its beginning are kept in its directory from now on."""
        path = run.run_dir / KEPT
        kept = read_json(path, "remove it, and the run begins anew in W&B") if path.exists() else {}
        names: dict[str, Any] = {
            "run_id": kept.get("run_id") or agents_id() or "".join(secrets.choice(LETTERS) for _ in range(8)),
            "group": self.group or kept.get("group") or run.group,
            "began": kept.get("began") or int((run.run_dir / ".hydra").stat().st_mtime),
        }
        if (content := {**kept, **names}) != kept:
            write_json(path, content)
        return Labels(
            **names,
            entity=self.entity,
            project=self.project,
            job_type=self.job_type or run.kind,
            name=run.name[:MAX_NAME],
            tags=tuple(self.tags),
        )

    def begin(self, run: LoggedRun) -> Logger:
        """Begin a W&B run; a resumed run continues its own, in its group."""
        mode = self._given or usual_mode()
        if mode == DISABLED:
            return Loggers()
        if mode == ONLINE:
            return WandbLive(run, self.labels(run), has_artifact=self.artifacts)
        return WandbFile(run, self.labels(run))
