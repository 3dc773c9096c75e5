"""The report of finished runs: tables on the terminal and in files, figures, and a page with all of it."""

from collections.abc import Sequence
from pathlib import Path

from bcq_exp.analysis.comparison import compare
from bcq_exp.analysis.figures import learning_curves, save
from bcq_exp.analysis.grid import console
from bcq_exp.analysis.page import default_title, page
from bcq_exp.analysis.results import Result, read_results
from bcq_exp.analysis.results_file import RESULTS, write_results
from bcq_exp.analysis.tables import across, over_seeds
from bcq_exp.io.files import replacing
from bcq_exp.io.loggers import wandb_places
from bcq_exp.io.wandb_runs import kept_run_id

CURVES, PAGE = ("learning_curves.png", "learning_curves.svg"), "report.html"
TABLES = ("tables.csv", "tables.md", "tables.tex")
FILES = (*CURVES, RESULTS, *TABLES, PAGE)
"""All that a report writes, into the first directory."""


def present(directories: Sequence[Path], others: Sequence[Result] = (), folder: Path | None = None) -> None:
    """Print the tables of all runs below the directories, write them, the figures and the page, and print the paths.

    Args:
        directories: of runs or sweeps; there may be none where there are other results.
        others: results to compare with, from files or from W&B.
        folder: of the files that are written; None: the first directory.

    Raises:
        ValueError: no run has ended in the directories.
        OSError: a file cannot be read or written.
    """
    results = read_results(directories) if directories else []
    first = folder or directories[0]
    first.mkdir(parents=True, exist_ok=True)
    terminal = console()
    comparisons = compare([*results, *apart_from(results, others)])
    overall = across(comparisons)
    grids = [*map(over_seeds, comparisons), *overall]
    for grid in grids:
        terminal.print(grid.terminal(), "")
    curves = learning_curves(comparisons)
    for name in CURVES:
        save(curves, first / name)
    write_results(results or others, first / RESULTS)
    texts = {
        "tables.csv": "\n".join(grid.csv() for grid in grids),
        "tables.md": "\n".join(grid.markdown() for grid in grids),
        "tables.tex": "\n".join(grid.latex() for grid in grids),
        PAGE: page(comparisons, overall, default_title(directories or [first])),
    }
    for name, text in texts.items():
        with replacing(first / name) as partial:
            partial.write_text(text, encoding="utf-8")
    for line in [f"report:           {first / PAGE}", *places(results, first, directories)]:
        terminal.print(line, soft_wrap=True)


def apart_from(own: Sequence[Result], others: Sequence[Result]) -> list[Result]:
    """The other results without those of the own directories, and without their runs in W&B: a run counts once."""
    begun = {kept_run_id(result.directory) for result in own}
    there = {(result.directory.name, *result.evaluations) for result in own}
    return [
        result
        for result in others
        if result.directory.name not in begun and (result.directory.name, *result.evaluations) not in there
    ]


def places(results: Sequence[Result], first: Path, directories: Sequence[Path]) -> list[str]:
    """Lines that say where all else is."""
    lines = [
        f"curves:           {first / CURVES[0]}",
        f"tables, figures:  {', '.join((*TABLES, RESULTS))} beside it",
    ]
    if directories:
        lines.append(f"run directories:  {', '.join(map(str, directories))}")
    return [*lines, *wandb_places.places([result.directory for result in results], first)]
