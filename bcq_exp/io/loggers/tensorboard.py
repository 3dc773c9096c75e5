"""TensorBoard: an event file in the run directory, which is the run's name there."""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import yaml

from bcq_exp.io.differences import flatten
from bcq_exp.io.files import naming
from bcq_exp.io.loggers.form import LoggedRun, Logger, LoggerConfig

# Metrics in the table of hyperparameters, which shows the last value of each.
COMPARED = ("eval/return", "eval/normalized_score")


class TensorBoardLogger(Logger):
    """A TensorBoard event file: a scalar a metric, the configuration as text and as hyperparameters.

    TensorBoard shows nothing of the run's earlier event files: this one begins at step 0 (`purge_step`), so a resumed
    run must log its rows from the first on.

    Args:
        directory: the run directory.
        config: the run's full configuration as plain values.
    """

    def __init__(self, directory: Path, config: Mapping[str, Any]) -> None:
        # An extra, and half a second to import.
        from torch.utils.tensorboard import SummaryWriter
        from torch.utils.tensorboard.summary import hparams

        self._directory = directory
        self._writer = SummaryWriter(directory, purge_step=0)
        values = {
            key: value if isinstance(value, int | float | str | None) else str(value)
            for key, value in flatten(config).items()
        }
        experiment, start, self._end = hparams(values, dict.fromkeys(COMPARED))
        self._writer.file_writer.add_summary(experiment)
        self._writer.file_writer.add_summary(start)
        text = yaml.safe_dump(dict(config), sort_keys=False, allow_unicode=True)
        self._writer.add_text("config", f"```yaml\n{text}```")
        self._writer.flush()

    def log(self, update: int, metrics: Mapping[str, float]) -> None:
        """Add a scalar for each metric, in the file at once; raises OSError where it cannot be written."""
        with naming(self._directory):
            for name, value in metrics.items():
                self._writer.add_scalar(name, value, update)
            self._writer.flush()

    def finish(self, summary: Mapping[str, Any] | None) -> None:
        """Say in the table of hyperparameters that the run has ended, where it has, and close the file."""
        with naming(self._directory):
            if summary is not None:
                self._writer.file_writer.add_summary(self._end)
            self._writer.close()


@dataclass(kw_only=True)
class TensorBoardLoggerConfig(LoggerConfig):
    """TensorBoard has no keys: it groups runs by their directories."""

    def errors(self) -> list[str]:
        """An error where the package is not installed."""
        is_there = find_spec("tensorboard") is not None
        return [] if is_there else [f"logger={self.name} needs tensorboard: pip install 'bcq_exp[tensorboard]'"]

    def begin(self, run: LoggedRun) -> TensorBoardLogger:
        """Begin an event file; a resumed run begins another, which takes the earlier ones' place."""
        return TensorBoardLogger(run.run_dir, run.config)
