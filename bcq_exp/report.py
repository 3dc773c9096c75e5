"""Tables, figures and a page of finished runs: `python -m bcq_exp.report DIR [DIR ...] [results=NAME]`."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from bcq_exp.analysis.report import FILES, present
from bcq_exp.io.endings import in_one_line

RESULTS = "results="


def main() -> None:
    """Print the tables, and write them and all else into the first directory."""
    parser = argparse.ArgumentParser(
        prog="bcq-report", description=__doc__, epilog=f"Written into the first directory: {', '.join(FILES)}."
    )
    parser.add_argument(
        "words",
        nargs="+",
        metavar="DIR",
        help="a run or sweep directory; or results=NAME: committed results to compare with, a file as this command"
        " writes it, or a folder of experiments/ that has one",
    )
    words = parser.parse_args().words
    try:
        with in_one_line():
            directories = [Path(word) for word in words if not word.startswith(RESULTS)]
            if not directories:
                raise ValueError(f"{' '.join(words)} names no directory of runs")
            present(directories, committed([word.removeprefix(RESULTS) for word in words if word.startswith(RESULTS)]))
    except ValueError as error:
        raise SystemExit(f"error: {error}") from None


def committed(names: Sequence[str]) -> list[Path]:
    """The file of each name.

    Raises:
        ValueError: there is none.
    """
    paths = []
    for name in names:
        tried = [Path(name), Path("experiments") / name.replace("-", "_") / "results.csv"]
        found = [path for path in tried if path.is_file()]
        if not found:
            raise ValueError(f"{RESULTS}{name}: there is no file {tried[0]} or {tried[1]}")
        paths.append(found[0])
    return paths


if __name__ == "__main__":
    main()
