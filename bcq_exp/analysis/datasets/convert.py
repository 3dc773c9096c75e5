"""Rewrite a dataset in the layout of this project, or as a table."""

from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

import yaml

from bcq_exp.analysis.datasets.sources import Source, add_flags
from bcq_exp.data import write_h5
from bcq_exp.data.formats.tables.arrow import SUFFIXES
from bcq_exp.data.formats.tables.writer import write_table
from bcq_exp.io.arguments import Parser
from bcq_exp.io.files import sha256

HDF5 = (".h5", ".hdf5")
EXAMPLES = ("FILE.npz OUT.h5", "FILE.h5 OUT.csv", "LOG.csv OUT.h5 --columns treatment")


def convert(source: Source, out: Path, env: str | None) -> tuple[int, dict[str, str]]:
    """Rewrite a dataset in the project's layout, whose manifest keeps the origin, or as a table.

    Args:
        source: the dataset.
        out: file to write, HDF5 or a table by its ending; it must not exist, its folder must.
        env: Gymnasium id to store in HDF5; None takes the one that the dataset itself names, if it does.

    Returns:
        The number of transitions, and the columns of a table by their roles, as `write_table` returns them.

    Raises:
        FileNotFoundError: there is no such dataset.
        ValueError: it is damaged or holds bad values, or `out` cannot be written.
    """
    if out.exists() or not out.parent.is_dir() or out.suffix not in (*HDF5, *SUFFIXES):
        raise ValueError(f"{out}: give the name of a new .h5, .csv or .parquet file in a folder that exists")
    transitions = source.read()
    if out.suffix in SUFFIXES:
        if env is not None:
            raise ValueError(f"{out}: a table keeps no environment; leave --env out, and give it when you train")
        return len(transitions), write_table(out, transitions)
    manifest = {"converted_from": source.path.name, "bcq_exp_version": version("bcq_exp")}
    if source.path.is_file():
        manifest["sha256"] = sha256(source.path)
    write_h5(out, transitions, env or source.env, manifest)
    return len(transitions), {}


def parser() -> Parser:
    """What `bcq collect convert` takes."""
    made = Parser("bcq collect convert", __doc__, EXAMPLES, "docs/own-data.md")
    add_flags(made)
    made.add_argument("out", type=Path, metavar="OUT", help="a new file: .h5, .csv or .parquet")
    made.add_argument("--env", metavar="ID", help="the Gymnasium id to keep in .h5, where PATH does not name it")
    return made


def main(arguments: Sequence[str]) -> None:
    """Rewrite a dataset in the project's layout, or as a table."""
    options = parser().parse_args(arguments)
    num, columns = convert(Source.of(options), options.out, options.env)
    print(f"{num:,} transitions are written to {options.out}")
    if columns:
        written = yaml.safe_dump(columns, default_flow_style=True, sort_keys=False, width=1000).strip()
        print(f"columns: '{written}'")
