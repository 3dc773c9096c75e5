"""Compare our updates with golden values of the authors' code: `python -m experiments.parity` (`make parity`)."""

import argparse
import sys
from datetime import date
from pathlib import Path

import torch

from bcq_exp.analysis.grid import console
from experiments.parity.report import compare_all, grid, markdown, without_reference

ABOUT = """\
The same weights, minibatches and random numbers were given to the code of each algorithm's authors, or of another
library where theirs cannot be run, and to ours: networks of two small hidden layers, four rows a minibatch, ten
updates. `experiments/parity/golden/` has what they gave, `experiments/parity/sources.csv` what was run. A figure is the
largest absolute difference of a loss, of a network's weight or of a target network's weight. A case is equal where, in
float64, all are below 1e-10; in float32, those of the first update below 1e-5. Networks are held, at the rate 0 on both
sides, where the two codes make their steps in another order; what that leaves out is named below the table.
"""


def main() -> None:
    """Print the tables; fail where a case differs."""
    parser = argparse.ArgumentParser(prog="python -m experiments.parity", description=__doc__)
    parser.add_argument("--write", type=Path, metavar="FILE", help="also write the report there, as Markdown")
    options = parser.parse_args()
    terminal = console()
    torch.set_num_threads(1)
    comparisons = compare_all()
    terminal.print(grid(comparisons).terminal())
    terminal.print(without_reference().terminal())
    if options.write is not None:
        command = f"    python -m experiments.parity --write {options.write}\n"
        made = f"torch {torch.__version__}, {date.today():%B %Y}.\n"
        options.write.write_text(markdown(comparisons, "\n".join((ABOUT, command, made))))
    differing = [each.source.case for each in comparisons if not each.is_equal]
    if differing:
        sys.exit(f"differs: {', '.join(differing)}")


if __name__ == "__main__":
    main()
