"""Weights & Biases."""

import os
import secrets
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

from bcq_exp.io.files import read_json, write_json
from bcq_exp.io.loggers.form import LoggedRun, LoggerConfig
from bcq_exp.io.loggers.wandb_file import Labels
from bcq_exp.io.masking import masked_words

KEPT = "wandb.json"  # in a run directory: the W&B run that a resumed run continues
LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789"  # of a run's id
MAX_NAME = 128  # characters that W&B's server takes


class WandbLogger:
    """A Weights & Biases run: offline unless logged in, or as the environment variable WANDB_MODE says.

    Args:
        directory: the run directory; W&B keeps its files in `wandb` below it.
        config: the run's full configuration, with nothing left to resolve.
        project: W&B's project.
        group: W&B's group, the runs that are compared as one.
        tags: W&B's tags.
        job_type: W&B's job type.
        name: the name shown.
        run_id: the run to continue (`run_id` of the logger that began it); None begins one.

    Raises:
        ValueError: W&B cannot begin the run.
    """

    def __init__(
        self,
        directory: Path,
        config: Mapping[str, Any],
        *,
        project: str,
        group: str | None,
        tags: Sequence[str],
        job_type: str,
        name: str | None,
        run_id: str | None,
    ) -> None:
        import wandb  # takes a second

        try:
            with masked_command():
                self._run = wandb.init(
                    dir=directory,
                    config=dict(config),
                    project=project,
                    group=group,
                    tags=list(tags),
                    job_type=job_type,
                    name=name and name[:MAX_NAME],
                    id=run_id,
                    resume=None if run_id is None else "allow",
                    mode=wandb_mode(),
                    reinit="create_new",
                    settings=wandb.Settings(silent=True, console="off"),
                )
        except wandb.Error as error:
            raise ValueError(f"W&B cannot begin a run: {error}; WANDB_MODE=offline does without its server") from error
        self._run.define_metric("update")
        self._run.define_metric("*", step_metric="update")

    @property
    def run_id(self) -> str:
        """The id to continue this run with."""
        return self._run.id

    def log(self, update: int, metrics: Mapping[str, float]) -> None:
        """Log metrics of `update`; W&B drops updates that it already has, which a resumed run logs again."""
        self._run.log({"update": update, **metrics}, step=update)

    def finish(self, summary: Mapping[str, Any]) -> None:
        """Log the summary and end the run, which is on disk by the end of this process."""
        self._run.summary.update(dict(summary))
        self._run.finish()


@contextmanager
def masked_command() -> Iterator[None]:
    """Mask the secrets of the command line in the block; W&B writes it to the run's files."""
    typed = sys.argv
    sys.argv = masked_words(typed)
    try:
        yield
    finally:
        sys.argv = typed


def wandb_mode() -> Literal["online", "offline"] | None:
    """`online` where the user is logged in, else `offline`; None where WANDB_MODE is set, which W&B reads itself."""
    import wandb

    if "WANDB_MODE" in os.environ:
        return None
    return "online" if wandb.login(prompt=False, verify=False) else "offline"


@dataclass(kw_only=True)
class WandbLoggerConfig(LoggerConfig):
    """The names under which W&B files a run; the group defaults to `LoggedRun.group`, the job type to its kind."""

    later_keys: ClassVar[Mapping[str, Any]] = {"entity": None, "mode": None}

    mode: str | None
    entity: str | None
    project: str
    group: str | None
    tags: list[str]
    job_type: str | None

    def labels(self, run: LoggedRun) -> Labels:
        """What W&B files a run under; its id, its group and its beginning are kept in its directory from now on."""
        path = run.run_dir / KEPT
        kept = read_json(path, "remove it, and the run begins anew in W&B") if path.exists() else {}
        content = {
            "run_id": kept.get("run_id") or "".join(secrets.choice(LETTERS) for _ in range(8)),
            "group": self.group or kept.get("group") or run.group,
            "began": kept.get("began") or int((run.run_dir / ".hydra").stat().st_mtime),
        }
        if kept != content:
            write_json(path, content)
        return Labels(
            **content,
            entity=self.entity,
            project=self.project,
            job_type=self.job_type or run.kind,
            name=run.name[:MAX_NAME],
            tags=tuple(self.tags),
        )

    def begin(self, run: LoggedRun) -> WandbLogger:
        """Begin a W&B run; a resumed run continues its own, in its group."""
        labels = self.labels(run)
        return WandbLogger(
            run.run_dir,
            run.config,
            project=self.project,
            group=labels.group,
            tags=self.tags,
            job_type=labels.job_type,
            name=labels.name,
            run_id=labels.run_id,
        )
