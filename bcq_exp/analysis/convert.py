"""Conversion of datasets to the project's own layout: `python -m bcq_exp.collect convert PATH OUT.h5`."""

import argparse
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

from bcq_exp.data import read_transitions, write_h5
from bcq_exp.data.formats.readers import format_of
from bcq_exp.io.files import sha256

LIMIT_HELP = "length of the time limit, for a file that does not say where episodes end; 0: there was none"


def convert(path: Path, out: Path, env: str | None, max_episode_steps: int | None = None) -> int:
    """Rewrite a dataset in the project's layout; its manifest keeps the origin.

    Args:
        path: a dataset of any known layout.
        out: file to write; it must not exist, its folder must.
        env: Gymnasium id to store with the data; None takes the one that the dataset itself names.
        max_episode_steps: see `read_transitions`.

    Returns:
        The number of transitions.

    Raises:
        FileNotFoundError: there is no such dataset.
        ValueError: it is damaged or holds bad values, no environment is known, or `out` cannot be written.
    """
    if out.exists() or not out.parent.is_dir() or out.suffix not in (".h5", ".hdf5"):
        raise ValueError(f"{out}: give the name of a new .h5 file in a folder that exists")
    transitions = read_transitions(path, max_episode_steps)
    env = env or format_of(path).env(path)
    if env is None:
        raise ValueError(f"{path}: the file names no environment; give its Gymnasium id: --env ID")
    manifest = {"converted_from": path.name, "bcq_exp_version": version("bcq_exp")}
    if path.is_file():
        manifest["sha256"] = sha256(path)
    write_h5(out, transitions, env, manifest)
    return len(transitions)


def main(arguments: Sequence[str]) -> None:
    """Rewrite a dataset in the project's layout."""
    parser = argparse.ArgumentParser(prog="bcq-collect convert", description=__doc__)
    parser.add_argument("path", type=Path, metavar="PATH", help="a dataset of any known layout")
    parser.add_argument("out", type=Path, metavar="OUT.h5", help="file to write, which must not exist")
    parser.add_argument("--env", metavar="ID", help="its Gymnasium id, where PATH does not name it")
    parser.add_argument("--max-episode-steps", type=int, metavar="N", help=LIMIT_HELP)
    options = parser.parse_args(arguments)
    try:
        num = convert(options.path, options.out, options.env, options.max_episode_steps)
    except (ValueError, OSError) as error:
        raise SystemExit(f"error: {error}") from None
    print(f"{num:,} transitions are written to {options.out}")
