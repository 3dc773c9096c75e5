"""`report.html`: everything about some runs in one file, which needs no network."""

import io
import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from html import escape
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bcq_exp.analysis import figures, tables
from bcq_exp.analysis.comparison import Comparison
from bcq_exp.analysis.grid import Grid
from bcq_exp.analysis.sweeps import swept
from bcq_exp.io.files import read_json
from bcq_exp.io.summary import LAST

if TYPE_CHECKING:
    from matplotlib.figure import Figure

INK = "#010203"  # what is drawn in this colour gets the page's own, light or dark


def page(comparisons: Sequence[Comparison], overall: Sequence[Grid], title: str) -> str:
    """The page as HTML.

    Args:
        comparisons: at least one.
        overall: the tables over all datasets, `tables.across`.
        title: of the page.
    """
    results = [result for comparison in comparisons for row in comparison.rows for result in row.runs]
    ids = {comparison.dataset: f"dataset-{place}" for place, comparison in enumerate(comparisons)}
    links = "".join(f'<a href="#{ids[name]}">{escape(name)}</a>' for name in ids)
    finished = sum(result.is_finished for result in results)
    made = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    assets = files("bcq_exp.analysis") / "assets"
    body = [
        f"<h1>{escape(title)}</h1>",
        f'<p class="soft">{len(results)} runs, {finished} of them finished. Final: the last evaluation, never the best'
        f" one. Last {LAST}: the mean of the last {LAST} evaluations. Deviations are over n - 1. Made {made}.</p>",
        f"<nav>{links}</nav>" if len(comparisons) > 1 else "",
        *overview(comparisons, overall),
        *(part for comparison in comparisons for part in section(comparison, ids[comparison.dataset])),
    ]
    style, script = ((assets / name).read_text("utf-8") for name in ("report.css", "report.js"))
    lines = [
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{escape(title)}</title>\n<style>\n{style}</style></head>\n<body>",
        *filter(None, body),
        f"<script>\n{script}</script>\n</body></html>\n",
    ]
    return "\n".join(lines)


def overview(comparisons: Sequence[Comparison], grids: Sequence[Grid]) -> Iterable[str]:
    """The part over several datasets."""
    if grids:
        yield "<h2>Over all datasets</h2>"
        yield from map(html_table, grids)
        if (figure := figures.profiles(comparisons)) is not None:
            yield html_figure(figure, "Share of runs above each normalised score.")


def section(comparison: Comparison, anchor: str) -> Iterable[str]:
    """The part of one dataset."""
    yield f'<h2 id="{anchor}">{escape(comparison.dataset)}</h2>'
    yield html_table(tables.over_seeds(comparison))
    if any(row.measured for row in comparison.rows):
        if any(result.evaluations for row in comparison.rows for result in row.runs):
            caption = f"Mean of {comparison.measure} over seeds, in a band from the smallest to the largest seed."
            yield html_figure(figures.learning_curves([comparison]), caption)
        yield html_figure(figures.final_returns(comparison), "")
    yield from sweeps(comparison)
    if (grid := tables.differences(comparison)) is not None:
        yield html_table(grid)
    yield folded("Settings that differ", html_table(settings(comparison)))
    yield folded("Every run", html_table(tables.single_runs(comparison)))
    if (grid := actions(comparison, facts := manifest(comparison))) is not None:
        yield folded("Actions", html_table(grid))
    if facts:
        yield folded("Manifest of the first run", f"<pre>{escape(json.dumps(facts, indent=1))}</pre>")


def sweeps(comparison: Comparison) -> Iterable[str]:
    """Figures and sentences about swept keys."""
    found = swept(comparison)
    for sweep, figure in zip(found, figures.sensitivity(comparison), strict=True):
        yield html_figure(figure, f"What {', '.join(sweep.names)} change{'s' if len(sweep.names) == 1 else ''}.")
        if (best := sweep.best()) is not None:
            name, mean, half = best
            gives = tables.with_spread(mean, half, tables.decimals(comparison))
            yield (
                f"<p>Best setting by its mean: <b>{escape(name)}</b>. Chosen on all seeds but one and judged on that"
                f" one, in turn, the choice gives {gives} (95 % interval).</p>"
            )
    if (best_of := figures.best_of(comparison)) is not None:
        yield html_figure(best_of, "Expected best of so many settings, drawn with replacement (arXiv:1909.03004).")


def settings(comparison: Comparison) -> Grid:
    """A row for each kind of run, a column for each key that rows have different values of."""
    typed = {key for row in comparison.rows for key in row.settings}
    keys = [key for key in sorted(typed) if len({row.settings.get(key) for row in comparison.rows}) > 1]
    rows = [(row.name, *(row.settings.get(key, "default") for key in keys)) for row in comparison.rows]
    return Grid(f"{comparison.dataset}: settings", ("run", *keys), rows)


def manifest(comparison: Comparison) -> dict[str, Any]:
    """What the first finished run says of its code, data and machine; empty where its directory is not there."""
    for directory in (result.directory for row in comparison.rows for result in row.finished):
        try:
            facts = read_json(directory / "manifest.json")
        except (OSError, ValueError):
            continue
        return {"run": str(directory), **facts}
    return {}


def actions(comparison: Comparison, facts: Mapping[str, Any]) -> Grid | None:
    """A row for each discrete action of a dataset that names them; None where it does not.

    Args:
        comparison: of runs on the dataset.
        facts: as `manifest` returns them.
    """
    match facts.get("dataset"):
        case {"action_names": list(names), "action_counts": list(counts)} if sum(counts):
            rows = [
                (str(number), str(name), str(count), f"{count / sum(counts):.1%}")
                for number, (name, count) in enumerate(zip(names, counts, strict=True))
            ]
            return Grid(f"{comparison.dataset}: actions", ("number", "action", "rows", "share"), rows)
    return None


def html_table(grid: Grid) -> str:
    """A table whose columns are sorted by a click."""
    head = "".join(f'<th scope="col"><button type="button">{escape(name)}</button></th>' for name in grid.header)
    lines = []
    for row in grid.rows:
        line = "".join(f"<td>{escape(cell)}</td>" for cell in row)
        lines.append(f"<tr>{line}</tr>")
    note = f" ({grid.note})" if grid.note else ""
    caption = f"<caption>{escape(grid.title + note)}</caption>"
    body = "\n".join(lines)
    return f'<div class="wide"><table>{caption}<thead><tr>{head}</tr></thead><tbody>\n{body}</tbody></table></div>'


def html_figure(figure: "Figure", caption: str) -> str:
    """A figure as SVG in the page, its ink in the page's colour."""
    text = f"<figcaption>{escape(caption)}</figcaption>" if caption else ""
    return f"<figure>{svg(figure).replace(INK, 'currentColor')}{text}</figure>"


def svg(figure: "Figure") -> str:
    """The figure as an SVG element with transparent ground, and texts as text."""
    import matplotlib as mpl

    for axes in figure.axes:
        axes.set_facecolor("none")
        axes.tick_params(colors=INK)
        for item in (axes.title, axes.xaxis.label, axes.yaxis.label):
            item.set_color(INK)
        for spine in axes.spines.values():
            spine.set_color(INK)
        if (legend := axes.get_legend()) is not None:
            for item in legend.get_texts():
                item.set_color(INK)
    drawn = io.StringIO()
    with mpl.rc_context({**figures.SAME_BYTES, "font.family": "sans-serif"}):
        figure.savefig(drawn, format="svg", transparent=True, metadata={"Date": None})
    return drawn.getvalue()[drawn.getvalue().index("<svg") :]


def folded(title: str, content: str) -> str:
    """A part that is opened by a click."""
    return f"<details><summary>{escape(title)}</summary>{content}</details>"


def default_title(directories: Sequence[Path]) -> str:
    """The title of a page about these directories."""
    return f"bcq_exp: {', '.join(path.resolve().name for path in directories)}"
