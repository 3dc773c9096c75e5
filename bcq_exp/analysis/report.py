"""The report of finished runs: tables on the terminal and in files, figures, and a page with all of it."""

from collections.abc import Sequence
from pathlib import Path

from bcq_exp.analysis.comparison import compare
from bcq_exp.analysis.figures import learning_curves, save
from bcq_exp.analysis.grid import console
from bcq_exp.analysis.page import default_title, page
from bcq_exp.analysis.results import Result, read_results
from bcq_exp.analysis.results_file import read_results_file, write_results
from bcq_exp.analysis.tables import across, over_seeds
from bcq_exp.io.files import replacing
from bcq_exp.io.loggers import wandb_places

CURVES, RESULTS, PAGE = ("learning_curves.png", "learning_curves.svg"), "results.csv", "report.html"
TABLES = ("tables.csv", "tables.md", "tables.tex")
FILES = (*CURVES, RESULTS, *TABLES, PAGE)
"""All that a report writes, into the first directory."""


def present(directories: Sequence[Path], others: Sequence[Path] = ()) -> None:
    """Print the tables of all runs below the directories, write them, the figures and the page, and print the paths.

    Args:
        directories: of runs or sweeps; the files are written into the first.
        others: files of results to compare with, as a report writes them.

    Raises:
        ValueError: no run has ended there, or a file of results is damaged.
        OSError: a file cannot be read or written.
    """
    results, first = read_results(directories), directories[0]
    terminal = console()
    compared = [*results, *(result for path in others for result in read_results_file(path))]
    comparisons = compare(compared)
    overall = across(comparisons)
    grids = [*map(over_seeds, comparisons), *overall]
    for grid in grids:
        terminal.print(grid.terminal())
    curves = learning_curves(comparisons)
    for name in CURVES:
        save(curves, first / name)
    write_results(results, first / RESULTS)
    texts = {
        "tables.csv": "\n".join(grid.csv() for grid in grids),
        "tables.md": "\n".join(grid.markdown() for grid in grids),
        "tables.tex": "\n".join(grid.latex() for grid in grids),
        PAGE: page(comparisons, overall, default_title(directories)),
    }
    for name, text in texts.items():
        with replacing(first / name) as partial:
            partial.write_text(text, encoding="utf-8")
    for line in [f"report:           {first / PAGE}", *places(results, directories)]:
        terminal.print(line, soft_wrap=True)


def places(results: Sequence[Result], directories: Sequence[Path]) -> list[str]:
    """Lines that say where all else is."""
    first = directories[0]
    lines = [
        f"curves:           {first / CURVES[0]}",
        f"tables, figures:  {', '.join((*TABLES, RESULTS))} beside it",
        f"run directories:  {', '.join(map(str, directories))}",
    ]
    return [*lines, *wandb_places.places([result.directory for result in results], first)]
