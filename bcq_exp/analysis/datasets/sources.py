"""The dataset that a command for files is given, and the flags that say how to read it."""

from argparse import ArgumentParser, Namespace
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Self

import yaml

from bcq_exp.data import Transitions, read_transitions
from bcq_exp.data.formats.readers import format_of
from bcq_exp.data.formats.tables.roles import ENDS, TableColumns
from bcq_exp.data.formats.tables.table import read_table
from bcq_exp.io.source import CONF_DIR
from bcq_exp.training.sections import typed

CHOICES = Path(CONF_DIR) / "dataset"
STATED = ("columns", "ends", "action_names")  # what conf/dataset/table.yaml says of a file


@dataclass(frozen=True)
class Source:
    """A dataset in a file or folder, and what says how to read it.

    Args:
        path: of the file or folder.
        max_episode_steps: see `read_transitions`.
        columns: of a table, a text for `stated_of`; None for every other format.
        ends: see `read_table`; None takes what `columns` says of it.
    """

    path: Path
    max_episode_steps: int | None = None
    columns: str | None = None
    ends: str | None = None

    @classmethod
    def of(cls, options: Namespace) -> Self:
        """The one that parsed flags name."""
        return cls(**{spec.name: getattr(options, spec.name) for spec in fields(cls)})

    def read(self) -> Transitions:
        """Read and check the dataset.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: it is damaged or holds bad values, or the flags are wrong.
        """
        if self.columns is None:
            if self.ends is not None:
                raise ValueError(f"--ends {self.ends} is for tables; give --columns, too")
            return read_transitions(self.path, self.max_episode_steps)
        if self.max_episode_steps is not None:
            raise ValueError("--max-episode-steps is not for tables; their columns and --ends say how episodes end")
        stated = stated_of(self.columns)
        columns, errors = typed(stated["columns"], TableColumns, "columns.")
        if errors:
            raise ValueError("--columns: " + "; ".join(errors))
        ends = self.ends or stated["ends"]
        return read_table(self.path, columns, ends=ends, action_names=stated["action_names"])

    @property
    def env(self) -> str | None:
        """The Gymnasium id that the dataset names; None where it names none."""
        return None if self.columns else format_of(self.path).env(self.path)


def add_flags(parser: ArgumentParser, nargs: str | None = None) -> None:
    """Add what `Source.of` takes; `nargs` is that of the path."""
    parser.add_argument("path", type=Path, metavar="PATH", nargs=nargs, help="a dataset of a known format, or a table")
    parser.add_argument(
        "--max-episode-steps",
        type=int,
        metavar="N",
        help="length of the time limit, for a file that does not say where episodes end; 0: there was none",
    )
    parser.add_argument(
        "--columns",
        metavar="YAML",
        help="of a CSV or Parquet file, as dataset.columns: '{obs: vital_*, act: dose, rew: reward, episode: patient}';"
        " or a file that holds this, or the name of a choice of dataset that does",
    )
    parser.add_argument(
        "--ends", choices=ENDS, help="what the last row of an episode is, for a table without a column that says it"
    )


def stated_of(text: str) -> dict[str, Any]:
    """What a text says of a table: the keys `STATED`, with those of conf/dataset/table.yaml where it is silent.

    Args:
        text: YAML of the columns or of a section `dataset` that has them, the path of such a file, or the name of a
            choice in conf/dataset.

    Raises:
        ValueError: it is no YAML mapping, or there is no such file.
    """
    defaults = yaml.safe_load((CHOICES / "table.yaml").read_text("utf-8"))
    path = next((path for path in (Path(text), CHOICES / f"{text}.yaml") if ":" not in text and path.is_file()), None)
    try:
        given = yaml.safe_load(text if path is None else path.read_text("utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"--columns {text}: no YAML ({' '.join(str(error).split())})") from None
    if not isinstance(given, dict):
        raise ValueError(
            f"--columns {text}: no such file, no choice of dataset, and no mapping such as '{{obs: vital_*}}'"
        )
    section = given if isinstance(given.get("columns"), dict) else {"columns": given}
    stated = {key: section.get(key, defaults[key]) for key in STATED}
    return stated | {"columns": {**defaults["columns"], **section["columns"]}}
