"""Reproduce a paper's table: make the data, train every algorithm and seed, and print figures beside published ones.

A verdict stands beside each criterion. The same command goes on where it was stopped. `datasets=A,B` and `rows=A,B`
train a part of the table, `jobs=N` as many sweeps side by side, each with one thread, and `device=cuda` trains on a
GPU; `train=false` shows what has ended. `write=true` keeps results and page in the table's folder; budgets other than
smoke then need committed criteria. With `kept=true` rows that are kept there count as ended: so a table is completed
over machines.
"""

import subprocess
import sys
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from omegaconf import OmegaConf

from bcq_exp.analysis.grid import Grid, console
from bcq_exp.io.arguments import Parser
from bcq_exp.io.endings import mistakes_in_one_line
from bcq_exp.training.datasets import checked_dataset
from experiments.benchmark.cases import composed
from experiments.reproduce.cells import Cell, cells
from experiments.reproduce.criteria import judge
from experiments.reproduce.figures import Scale, Score, published
from experiments.reproduce.kept import kept_names, kept_rows
from experiments.reproduce.page import figures_grid, verdicts_grid
from experiments.reproduce.protocol import BEHAVIOUR, EXPERIMENTS, FILE, Data, Protocol, names, read_protocol
from experiments.reproduce.rows import Rows, behaviour_of, ended_rows
from experiments.reproduce.training import train_all
from experiments.reproduce.writing import Table, write

KEYS = {
    "table": "",
    "budget": "smoke",
    "folder": "outputs/reproduce",
    "write": "false",
    "datasets": "all",
    "rows": "all",
    "kept": "false",
    "jobs": "1",
    "device": "cpu",
    "train": "true",
}
EXAMPLES = (
    "table=discrete-bcq budget=smoke",
    "table=bcq-figure2 budget=cpu datasets=hopper-imitation,hopper-imperfect",
    "table=discrete-bcq budget=cpu train=false write=true",
    "table=ablations budget=cpu kept=true rows=phi=0.0,phi=1.0",
)


def main() -> None:
    """Run the whole protocol."""
    with mistakes_in_one_line():
        reproduce(parser().parse_args(sys.argv[1:]).words)


def parser() -> Parser:
    """What the command takes."""
    keys = " ".join(f"{key}={value}" for key, value in KEYS.items() if value)
    about = f"{__doc__}\nTables: {', '.join(names())}.\nDefaults: {keys}."
    made = Parser("python -m experiments.reproduce", about, EXAMPLES, "docs/reproduce.md")
    made.add_argument("words", nargs="+", metavar="KEY=VALUE", help="a key of those above")
    return made


def reproduce(words: Sequence[str]) -> None:
    """Train, judge and print.

    Raises:
        ValueError: a key or value is not allowed, or a command has failed.
    """
    given = dict(word.partition("=")[::2] for word in words)
    if unknown := given.keys() - KEYS.keys():
        raise ValueError(f"{', '.join(sorted(unknown))}: there is no such key; allowed: {', '.join(KEYS)}")
    keys = {**KEYS, **given}
    protocol = read_protocol(keys["table"])
    if keys["budget"] not in protocol.budgets:
        raise ValueError(f"budget={keys['budget']}: {protocol.name} has {', '.join(protocol.budgets)}")
    if not keys["jobs"].isdecimal() or keys["jobs"] == "0":
        raise ValueError(f"jobs={keys['jobs']}: allowed: 1 and more sweeps side by side")
    budget, folder = protocol.budgets[keys["budget"]], Path(keys["folder"]) / protocol.name / keys["budget"]
    planned = list(cells(protocol, budget, folder, keys["device"], is_alone=keys["jobs"] == "1"))
    wanted = chosen(planned, keys)
    is_written, is_trained, place = keys["write"] == "true", keys["train"] == "true", protocol.folder / keys["budget"]
    kept = kept_rows(place, planned) if keys["kept"] == "true" else {}
    found = ended_rows(planned, kept)
    if is_written:
        if keys["budget"] != "smoke":
            check_committed(protocol)
        check_none_is_lost(place, found, wanted if is_trained else {})
    wanted = {cell: [row for row in rows if row not in kept.get(cell, {})] for cell, rows in wanted.items()}
    trained_on = {cell.dataset for cell, rows in wanted.items() if rows} if is_trained else set[str]()
    scales = {name: scale_of(protocol.data(budget, name), fetch=name in trained_on) for name in budget.datasets}
    terminal, num_rows = console(), sum(map(len, wanted.values()))
    terminal.print(
        f"{protocol.title}: {num_rows} rows of {budget.seeds} seeds; "
        f"the whole budget takes about {budget.hours:g} h on {budget.machine}"
    )
    if is_trained:
        train_all(wanted, found, folder, int(keys["jobs"]))
        found = ended_rows(planned, kept)
    if not found:
        raise ValueError(f"train=false: no row of {protocol.name} has ended in {folder}")
    grids, verdicts = tables(protocol, scales, found)
    for grid in (*grids, verdicts):
        terminal.print(grid.terminal(), "")
    if is_written:
        write(Table(protocol, keys["budget"], planned, found, kept), grids, verdicts, folder)
        terminal.print(f"written: {place}")


def chosen(planned: Sequence[Cell], keys: Mapping[str, str]) -> dict[Cell, list[str]]:
    """The rows that are to be trained, by cell: those of the datasets and the names that are asked for.

    Raises:
        ValueError: the budget has no such dataset or row.
    """
    found = {cell: [*cell.settings] for cell in planned}
    datasets = asked(keys, "datasets", [cell.dataset for cell in planned])
    rows = asked(keys, "rows", [row for own in found.values() for row in own])
    return {cell: [row for row in own if row in rows] for cell, own in found.items() if cell.dataset in datasets}


def asked(keys: Mapping[str, str], key: str, allowed: Sequence[str]) -> Collection[str]:
    """The names that a key lists, or all.

    Raises:
        ValueError: a name is none of those allowed.
    """
    given = {*allowed} if keys[key] == "all" else {*keys[key].split(",")}
    if unknown := given - {*allowed}:
        shown = ", ".join(dict.fromkeys(allowed))
        raise ValueError(f"{key}={','.join(sorted(unknown))}: budget={keys['budget']} has {shown}")
    return given


def check_committed(protocol: Protocol) -> None:
    """Raise ValueError where the protocol, with its criteria, has changes that are not committed."""
    path = protocol.folder / FILE
    changed = subprocess.run(
        ["git", "status", "--porcelain", str(path)], capture_output=True, text=True, cwd=EXPERIMENTS
    )
    if changed.returncode or changed.stdout.strip():
        raise ValueError(f"{path} is not committed as it is: criteria are written before the runs; commit it first")


def check_none_is_lost(place: Path, ended: Mapping[Cell, Rows], wanted: Mapping[Cell, Collection[str]]) -> None:
    """Raise ValueError where a table's folder keeps a row that would not be written again.

    Args:
        place: the folder of the budget.
        ended: rows that will be written.
        wanted: rows that will be trained first, by cell.
    """
    there = {(cell.dataset, row) for rows in (ended, wanted) for cell, own in rows.items() for row in own}
    if lost := kept_names(place) - there:
        shown = "; ".join(f"{row} on {dataset}" for dataset, row in sorted(lost))
        raise ValueError(f"write=true: {place} keeps rows that are not here: {shown}. Add kept=true to hold on to them")


def scale_of(data: Data, *, fetch: bool) -> Scale:
    """The scale of a dataset, once it is checked and, with `fetch`, its files are in place.

    Raises:
        ValueError: they cannot be.
    """
    dataset = checked_dataset(OmegaConf.create(composed(*data.typed)))
    scale = Scale(dataset)
    if fetch:
        dataset.fetch()
    return scale


def tables(protocol: Protocol, scales: Mapping[str, Scale], found: Mapping[Cell, Rows]) -> tuple[list[Grid], Grid]:
    """The figures of each dataset, and the verdicts."""
    paper, grids, scores, ran = published(protocol), [], dict[str, dict[str, Score]](), dict[str, list[str]]()
    for dataset, scale in scales.items():
        rows = {name: row for cell, of in found.items() if cell.dataset == dataset for name, row in of.items()}
        if not rows:
            continue
        ran[dataset] = list(rows)
        behaviour = behaviour_of(dataset, rows)
        of_rows = {name: scale.of(row) for name, row in rows.items()}
        scores[dataset] = {name: score for name, score in of_rows.items() if score is not None}
        scores[dataset][BEHAVIOUR] = Score(scale.score(behaviour), float("nan"), ())
        grids.append(figures_grid(dataset, rows, scores[dataset], paper, behaviour))
    verdicts = []
    for criterion in protocol.criteria:
        for dataset in criterion.datasets:
            held = paper.get((dataset, criterion.algorithm), {})
            references = {reference.name: held.get(reference.name) for reference in protocol.references}
            verdicts.append(judge(criterion, dataset, scores.get(dataset, {}), ran.get(dataset, ()), references))
    return grids, verdicts_grid(verdicts)


if __name__ == "__main__":
    main()
