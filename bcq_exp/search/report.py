"""What a search found: a table on the terminal, `study.csv`, and pictures."""

import csv
from pathlib import Path
from typing import Any

import numpy as np
from optuna.trial import TrialState
from rich import box
from rich.console import Console
from rich.table import Table

from bcq_exp.analysis.tables import with_spread
from bcq_exp.io.files import replacing
from bcq_exp.search.figures import draw
from bcq_exp.search.settings import JOURNAL
from bcq_exp.search.study import Study

FILES = (JOURNAL, "study.csv", "history.png", "importance.png", "pareto.png")
SHOWN = 10  # trials in the table


def present(study: Study, sweep_dir: Path) -> None:
    """Print the table of the best trials, and write the files."""
    console = Console()
    write_csv(study, sweep_dir / "study.csv")
    console.print(table(study))
    for path in (sweep_dir / "study.csv", *draw(study, sweep_dir)):
        console.print(str(path), soft_wrap=True)


def best_first(study: Study) -> list[Any]:
    """The trials that have values: of one objective the best first, of several those of the Pareto front by the first.

    With several objectives the others are left out.
    """
    trials = study.optuna.best_trials if len(study.settings.objectives) > 1 else study.trials
    whole = [trial for trial in trials if trial.state == TrialState.COMPLETE]
    return sorted(whole, key=lambda trial: -trial.values[0])


def table(study: Study) -> Table:
    """A row a trial, of one objective the best first: values over seeds, and parameters."""
    objectives, states = study.settings.objectives, [trial.state for trial in study.trials]
    counts = [f"{states.count(state)} {word}" for state, word in WORDS.items() if state in states]
    title = "Pareto front" if len(objectives) > 1 else f"best of {len(states)} trials"
    made = Table(title=title, box=box.SIMPLE_HEAD, caption=", ".join(counts))
    for column in ("trial", *(f"{name} ± std" for name in objectives)):
        made.add_column(column, justify="right", no_wrap=True)
    made.add_column("parameters", overflow="fold")
    for trial in best_first(study)[:SHOWN]:
        spreads = [spread(values) for values in trial.user_attrs["by_seed"].values()]
        cells = [with_spread(mean, std) for mean, std in zip(trial.values, spreads, strict=True)]
        parameters = [f"{key.rpartition('.')[2]}={short(value)}" for key, value in trial.params.items()]
        made.add_row(str(trial.number), *cells, " ".join(parameters))
    return made


WORDS = {TrialState.COMPLETE: "finished", TrialState.PRUNED: "pruned", TrialState.FAIL: "failed"}


def spread(values: list[float]) -> float:
    """The standard deviation over seeds; NaN for one seed."""
    return float(np.std(values, ddof=1)) if len(values) > 1 else float("nan")


def short(value: Any) -> str:
    """A parameter in a table's cell."""
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def write_csv(study: Study, path: Path) -> None:
    """A row a trial that has ended, in their order: state, values, spreads and values by seed, parameters, runs."""
    objectives, rows = study.settings.objectives, []
    for trial in study.trials:
        if trial.state not in WORDS:
            continue
        row: dict[str, Any] = {"trial": trial.number, "state": WORDS[trial.state]}
        by_seed = trial.user_attrs.get("by_seed", {})
        for name, value in zip(objectives, trial.values or [None for _ in objectives], strict=True):
            values = by_seed.get(name, [])
            row |= {name: value, f"{name}_std": spread(values), f"{name}_by_seed": " ".join(map(str, values))}
        rows.append(row | trial.params | {"runs": " ".join(trial.user_attrs["runs"])})
    with replacing(path) as partial, partial.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]) if rows else ["trial"])
        writer.writeheader()
        writer.writerows(rows)
