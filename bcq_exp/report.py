"""Tables and curves of finished runs: `python -m bcq_exp.report DIR [DIR ...]`."""

import argparse
from pathlib import Path

from bcq_exp.analysis.report import present
from bcq_exp.io.endings import in_one_line


def main() -> None:
    """Print the tables and write `learning_curves.png` into the first directory."""
    parser = argparse.ArgumentParser(prog="bcq-report", description=__doc__)
    parser.add_argument("directories", nargs="+", type=Path, metavar="DIR", help="run or sweep directories")
    directories = parser.parse_args().directories
    try:
        with in_one_line():
            present(directories)
    except ValueError as error:
        raise SystemExit(f"error: {error}") from None


if __name__ == "__main__":
    main()
