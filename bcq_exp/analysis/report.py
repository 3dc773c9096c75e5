"""The report of finished runs: their tables on the terminal, their learning curves as a PNG."""

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from bcq_exp.analysis.figures import plot
from bcq_exp.analysis.results import read_results
from bcq_exp.analysis.tables import tables


def present(directories: Sequence[Path]) -> None:
    """Print the tables of all runs below the directories, and all paths; draw the curves into the first directory.

    Raises:
        ValueError: no run has ended there.
    """
    results, console, first = read_results(directories), Console(), directories[0]
    plot(results, first / "learning_curves.png")
    for table in tables(results):
        console.print(table)
    lines = [
        f"curves:           {first / 'learning_curves.png'}",
        f"run directories:  {', '.join(map(str, directories))}",
    ]
    if offline := [path for result in results for path in (result.directory / "wandb").glob("offline-run-*")]:
        lines += [
            f"W&B, offline:     {len(offline)} runs; look with `wandb leet {offline[0]}`,",
            f"                  upload with `wandb sync {first}/*/wandb/offline-run-*`",
        ]
    for line in lines:
        console.print(line, soft_wrap=True)
