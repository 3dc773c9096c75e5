"""The figures of many runs in one file, `results.csv`: a row a run, with its summary and its evaluations."""

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bcq_exp.analysis.results import Result
from bcq_exp.io.files import replacing
from bcq_exp.io.summary import KEYS, Number, checked_summary

RESULTS = "results.csv"
EVALUATIONS = "evaluations"  # the column: UPDATE:RETURN, separated by blanks
# Keys of some summaries, with their types; what a run has not is left out.
OPTIONAL: dict[str, Any] = {
    "final_cut_episodes": int,
    "final_estimate": Number,
    "final_estimator": str,
    "judged_on": str,
}
COLUMNS = {**KEYS, "behaviour_normalized_score": Number, **OPTIONAL}


def write_results(results: Sequence[Result], path: Path) -> None:
    """Write a row for each run; numbers and lists are JSON, what a run has not is empty."""
    with replacing(path) as partial, partial.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["run", *COLUMNS, EVALUATIONS])
        for result in results:
            evaluations = " ".join(f"{update}:{value!r}" for update, value in result.evaluations)
            writer.writerow([result.directory.name, *(text(result.summary.get(key)) for key in COLUMNS), evaluations])


def text(value: Any) -> str:
    """A value as a cell."""
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value)


def committed(names: Sequence[str]) -> list[Path]:
    """The files of each name: of a file its own, of a table (`discrete-bcq`) those of its budgets, or of one of them
    (`discrete-bcq/cpu`) alone.

    Raises:
        ValueError: there is none.
    """
    paths, kept = [], {}
    for path in sorted(Path("experiments").glob(f"*/*/{RESULTS}")):
        table, budget = path.parts[1:3]
        kept[f"{table.replace('_', '-')}/{budget}"] = path
    for name in names:
        of_table = [path for key, path in kept.items() if name in (key, key.partition("/")[0])]
        found = [Path(name)] if Path(name).is_file() else of_table
        if not found:
            raise ValueError(
                f"results={name}: there is no such file, and no such table in experiments/, which has "
                f"{', '.join(kept) or 'none'}"
            )
        paths += found
    return paths


def read_results_file(path: Path) -> list[Result]:
    """The runs of a `results.csv`; their directories are named, and need not be there.

    Raises:
        ValueError: the file is damaged, or is of another kind.
        OSError: it cannot be read.
    """
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        if not rows:
            raise ValueError("it has no rows")
        return [_result(row, path.parent) for row in rows]
    except (ValueError, KeyError, TypeError, AttributeError, csv.Error) as error:
        raise ValueError(f"{path} is no file of results, as bcq-report writes it, or was damaged: {error}") from None


def _result(row: dict[str, str], folder: Path) -> Result:
    summary = {key: _value(row.get(key) if key in OPTIONAL else row[key], kind) for key, kind in COLUMNS.items()}
    summary = {key: value for key, value in summary.items() if value is not None or key not in OPTIONAL}
    pairs = [pair.split(":") for pair in row[EVALUATIONS].split()]
    evaluations = [(int(update), float(value)) for update, value in pairs]
    return Result(folder / row["run"], checked_summary(summary, f"run {row['run']}"), evaluations)


def _value(cell: str | None, kind: Any) -> Any:
    """The value of a cell; None where it is empty and need not be text, or is not there."""
    if cell and kind in (str, str | None):
        return cell
    return "" if cell == "" and kind is str else json.loads(cell) if cell else None
