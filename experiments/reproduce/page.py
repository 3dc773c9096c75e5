"""The page of a table: what the paper did, our figures beside the published ones, and a verdict a criterion."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from bcq_exp.analysis.comparison import Row
from bcq_exp.analysis.grid import Grid
from bcq_exp.analysis.statistics import interval
from bcq_exp.analysis.tables import with_spread
from experiments.reproduce.criteria import Verdict
from experiments.reproduce.figures import Published, Score
from experiments.reproduce.protocol import Budget, Protocol


def figures_grid(
    dataset: str,
    rows: Mapping[str, Row],
    scores: Mapping[str, Score],
    published: Mapping[tuple[str, str], Mapping[str, Published]],
    behaviour: float,
) -> Grid:
    """Our returns beside the published figures, a row an algorithm or a setting in the protocol's order."""
    papers = {row: published.get((dataset, row), {}) for row in rows}
    columns = list(dict.fromkeys(name for paper in papers.values() for name in paper))
    lines = []
    for name, row in rows.items():
        paper, is_finished = papers[name], bool(row.finished)
        lines.append(
            (
                name,
                row.status,
                with_spread(*interval(row.lasts)[:2]) if is_finished else "-",
                with_spread(*interval(row.finals)[:2]) if is_finished else "-",
                cell(scores.get(name)),
                *(figure(paper[column]) if column in paper else "-" for column in columns),
            )
        )
    header = ("algorithm", "seeds", "last 10 ± std", "final ± std", "score ± 95 %", *columns)
    return Grid(dataset, header, lines, f"mean return of the behaviour: {behaviour:.1f}")


def figure(paper: Published) -> str:
    """A published figure with its deviation, where one is printed, and how it was read."""
    return f"{with_spread(paper.mean, float('nan') if paper.std is None else paper.std)} ({paper.status})"


def verdicts_grid(verdicts: Sequence[Verdict]) -> Grid:
    """A row a criterion and dataset."""
    rows = [
        (
            verdict.criterion.says,
            verdict.dataset,
            cell(verdict.score),
            cell(verdict.other),
            verdict.outcome,
        )
        for verdict in verdicts
    ]
    header = ("criterion", "dataset", "score ± 95 %", "compared with", "verdict")
    return Grid("Criteria, written before the runs", header, rows)


def cell(score: Score | None) -> str:
    """A score with half of its interval."""
    return "-" if score is None else with_spread(score.mean, score.half)


def page(
    protocol: Protocol,
    name: str,
    budget: Budget,
    grids: Sequence[Grid],
    verdicts: Grid,
    facts: Mapping[str, str],
    pictures: Sequence[str],
) -> str:
    """The page in Markdown.

    Args:
        protocol: of the table.
        name: of the budget.
        budget: that was run.
        grids: figures, one a dataset.
        verdicts: of the criteria.
        facts: of the runs: command, wall time, revision.
        pictures: names of files beside the page.
    """
    parts = [
        f"# {protocol.title}",
        protocol.about.strip(),
        f"## Budget `{name}`",
        budget.changes.strip(),
        "\n".join(f"- {key}: {value}" for key, value in facts.items()),
        verdicts.markdown(level=2).strip(),
        *(["## Looked into", budget.findings.strip()] if budget.findings else []),
        "## Figures",
        *(grid.markdown().strip() for grid in grids),
        *(f"![{Path(name).stem}]({name})" for name in pictures),
    ]
    return "\n\n".join(parts) + "\n"
