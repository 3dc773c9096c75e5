"""What a table's folder keeps of a budget: `results.csv`, a line a run; `provenance.csv`, where each row was trained.

Rows that are kept can stand for rows that this machine has not trained, so that a table is completed over machines.
"""

import csv
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path

from bcq_exp.analysis.comparison import Row
from bcq_exp.analysis.results_file import RESULTS, read_results_file, write_results
from bcq_exp.io.files import read_json, replacing
from experiments.reproduce.cells import Cell
from experiments.reproduce.rows import Rows, by_words, whole_rows

PROVENANCE = "provenance.csv"


@dataclass(frozen=True)
class Origin:
    """Where a row was trained.

    Args:
        seconds: of training and evaluation: the row's share of its sweep.
        machine: the device and the version of torch.
        code: the revision, and the digest of the source, which tells a changed one from it.
    """

    seconds: int
    machine: str
    code: str


def kept_rows(place: Path, cells: Sequence[Cell]) -> dict[Cell, Rows]:
    """The rows that a folder keeps, by cell.

    Args:
        place: the folder of a budget; without results there are no rows.
        cells: of the whole budget.

    Raises:
        ValueError: a file is damaged, or a run was trained by other words than the protocol has.
    """
    if not (place / RESULTS).is_file():
        return {}
    runs = by_words(read_results_file(place / RESULTS))
    kept = {cell: rows for cell in cells if (rows := whole_rows(cell, runs))}
    if runs:
        (dataset, words), *others = runs
        more = f" and {len(others)} more" if others else ""
        raise ValueError(
            f"{place / RESULTS} has a run on {dataset}{more} that the protocol does not train, or not once: "
            f"{' '.join(sorted(words))}. Train its row anew without kept=true, or undo what changed in the protocol"
        )
    return kept


def trained_origin(row: Row, seconds: float) -> Origin:
    """Where this machine has trained a row, by the manifests of its runs."""
    manifests = [read_json(run.directory / "manifest.json") for run in row.runs]
    machines = (f"{manifest['device']}, torch {manifest['packages']['torch']}" for manifest in manifests)
    codes = (
        f"revision {(manifest['git_revision'] or 'unknown')[:7]}, source {manifest['source_sha256'][:8]}"
        for manifest in manifests
    )
    return Origin(round(seconds), united(machines), united(codes))


def united(texts: Iterable[str]) -> str:
    """All parts of texts such as `A; B`, each once."""
    return "; ".join(sorted({part for text in texts for part in text.split("; ")}))


def kept_names(place: Path) -> set[tuple[str, str]]:
    """Dataset and name of each row that a folder keeps.

    Raises:
        ValueError: a file is damaged, or results are there without their origins.
    """
    return {*read_origins(place)} if (place / RESULTS).is_file() else set()


def read_origins(place: Path) -> dict[tuple[str, str], Origin]:
    """The origins of the rows that a folder keeps, by dataset and row.

    Raises:
        ValueError: the file is not there, or was damaged.
    """
    path = place / PROVENANCE
    try:
        with path.open(newline="", encoding="utf-8") as file:
            return {
                (line["dataset"], line["row"]): Origin(int(line["seconds"]), line["machine"], line["code"])
                for line in csv.DictReader(file)
            }
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} does not say where the rows beside it were trained: {error}") from None


def write_kept(place: Path, rows: Mapping[str, Sequence[Row]], origins: Mapping[tuple[str, str], Origin]) -> None:
    """Keep rows by dataset, each with its origin."""
    place.mkdir(exist_ok=True)
    write_results([run for own in rows.values() for row in own for run in row.runs], place / RESULTS)
    with replacing(place / PROVENANCE) as partial, partial.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["dataset", "row", *(field.name for field in fields(Origin))])
        for dataset, own in rows.items():
            writer.writerows([dataset, row.name, *astuple(origins[dataset, row.name])] for row in own)
