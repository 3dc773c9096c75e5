"""Reproduce a paper's table: make the data, train every algorithm and seed, and print figures beside published ones.

A verdict stands beside each criterion. The same command goes on where it was stopped. `datasets=A,B` runs a part of
the table, `jobs=N` as many sweeps side by side, each with one thread, and `device=cuda` trains on a GPU; `train=false`
shows what has ended. `write=true` keeps results and page in the table's folder; budgets other than smoke then need
committed criteria.
"""

import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

from filelock import FileLock
from omegaconf import OmegaConf

from bcq_exp.analysis.comparison import Comparison, Row
from bcq_exp.analysis.figures import learning_curves, save, sensitivity
from bcq_exp.analysis.grid import Grid, console
from bcq_exp.analysis.results_file import write_results
from bcq_exp.io.arguments import Parser
from bcq_exp.io.endings import mistakes_in_one_line
from bcq_exp.io.files import read_json, write_json
from bcq_exp.training.datasets import checked_dataset
from experiments.benchmark.cases import composed
from experiments.reproduce.criteria import judge
from experiments.reproduce.figures import Scale, Score, published
from experiments.reproduce.page import figures_grid, page, verdicts_grid
from experiments.reproduce.protocol import BEHAVIOUR, EXPERIMENTS, FILE, Budget, Data, Protocol, names, read_protocol
from experiments.reproduce.rows import Rows, behaviour_of, ended_rows, missing_rows
from experiments.reproduce.training import Cell, cells, train

KEYS = {
    "table": "",
    "budget": "smoke",
    "folder": "outputs/reproduce",
    "write": "false",
    "datasets": "all",
    "jobs": "1",
    "device": "cpu",
    "train": "true",
}
EXAMPLES = (
    "table=discrete-bcq budget=smoke",
    "table=bcq-figure2 budget=cpu datasets=hopper-imitation,hopper-imperfect",
    "table=discrete-bcq budget=cpu train=false write=true",
)
SECONDS = "seconds.json"  # of wall time, by dataset and algorithm; in the folder of a budget


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
    budget, folder = chosen(protocol, keys), Path(keys["folder"]) / protocol.name / keys["budget"]
    is_kept = keys["write"] == "true"
    if is_kept and keys["budget"] != "smoke":
        check_committed(protocol)
    is_trained = keys["train"] == "true"
    scales = {name: scale_of(protocol.data(budget, name), fetch=is_trained) for name in budget.datasets}
    terminal, planned = console(), list(cells(protocol, budget, folder, keys["device"], is_alone=keys["jobs"] == "1"))
    terminal.print(
        f"{protocol.title}: {len(planned)} sweeps of {budget.seeds} seeds, about {budget.hours:g} h on {budget.machine}"
    )
    if is_trained:
        train_all(planned, folder, int(keys["jobs"]))
    found = ended_rows(planned)
    if not found:
        raise ValueError(f"train=false: no row of {protocol.name} has ended in {folder}")
    grids, verdicts = tables(protocol, scales, found)
    for grid in (*grids, verdicts):
        terminal.print(grid.terminal(), "")
    if is_kept:
        missing = {dataset: missing_rows(planned, found, dataset) for dataset in scales}
        keep(protocol, keys["budget"], found, grids, verdicts, folder, missing)


def chosen(protocol: Protocol, keys: Mapping[str, str]) -> Budget:
    """The budget, with the datasets that are asked for.

    Raises:
        ValueError: it has no such dataset.
    """
    budget = protocol.budgets[keys["budget"]]
    if keys["datasets"] == "all":
        return budget
    datasets = keys["datasets"].split(",")
    if unknown := {*datasets} - {*budget.datasets}:
        allowed = ", ".join(budget.datasets)
        raise ValueError(f"datasets={','.join(sorted(unknown))}: budget={keys['budget']} has {allowed}")
    return replace(budget, datasets=datasets)


def check_committed(protocol: Protocol) -> None:
    """Raise ValueError where the protocol, with its criteria, has changes that are not committed."""
    path = protocol.folder / FILE
    changed = subprocess.run(
        ["git", "status", "--porcelain", str(path)], capture_output=True, text=True, cwd=EXPERIMENTS
    )
    if changed.returncode or changed.stdout.strip():
        raise ValueError(f"{path} is not committed as it is: criteria are written before the runs; commit it first")


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


def train_all(planned: Sequence[Cell], folder: Path, num_jobs: int) -> None:
    """Train every sweep that has not ended, the others too where one fails.

    Raises:
        ValueError: a sweep has failed.
    """
    with ThreadPoolExecutor(num_jobs) as pool:
        started = [pool.submit(timed, cell, folder) for cell in planned if not cell.has_ended]
    if failures := [str(error) for future in started if (error := future.exception())]:
        raise ValueError("\n".join(failures))


def timed(cell: Cell, folder: Path) -> None:
    """Train a sweep, and add its seconds to those of earlier starts."""
    start, path = time.monotonic(), folder / SECONDS
    try:
        train(cell)
    finally:
        folder.mkdir(parents=True, exist_ok=True)
        key = f"{cell.dataset} {cell.algorithm}"
        with FileLock(path.with_suffix(".lock")):
            before = read_json(path) if path.is_file() else {}
            write_json(path, {**before, key: before.get(key, 0.0) + time.monotonic() - start})


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


def keep(
    protocol: Protocol,
    name: str,
    found: Mapping[Cell, Rows],
    grids: Sequence[Grid],
    verdicts: Grid,
    folder: Path,
    missing: Mapping[str, Sequence[str]],
) -> None:
    """Write results, figures and page into the table's folder; `missing` has what has not ended, by dataset."""
    place = protocol.folder / name
    place.mkdir(exist_ok=True)
    by_dataset: dict[str, list[Row]] = {}
    for cell, rows in found.items():
        own = [row for name, row in rows.items() if name not in cell.learner.same]
        by_dataset.setdefault(cell.dataset, []).extend(own)
    everything = [result for own in by_dataset.values() for row in own for result in row.runs]
    write_results(everything, place / "results.csv")
    compared = [Comparison(dataset, own) for dataset, own in by_dataset.items()]
    pictures = {f"curves-{comparison.dataset}.svg": learning_curves([comparison]) for comparison in compared}
    for cell, rows in found.items():
        for picture in sensitivity(Comparison(cell.dataset, [*rows.values()])):
            pictures[f"sensitivity-{cell.dataset}-{cell.algorithm}.svg"] = picture
    for file, picture in pictures.items():
        save(picture, place / file)
    seconds = read_json(folder / SECONDS)
    manifests = [read_json(result.directory / "manifest.json") for result in everything]
    facts = {
        "command": f"`python -m experiments.reproduce table={protocol.name} budget={name} write=true`",
        "seeds": f"0 to {protocol.budgets[name].seeds - 1}",
        "wall time": f"{sum(seconds.values()) / 3600:.1f} h of training and evaluation, added up over sweeps",
        "machine": "; ".join(sorted({machine(manifest) for manifest in manifests})),
        "code": "; ".join(sorted({code(manifest) for manifest in manifests})),
        "written": str(date.today()),
    }
    if left := [f"{', '.join(learners)} on {dataset}" for dataset, learners in missing.items() if learners]:
        facts["not run yet"] = "; ".join(left)
    text = page(protocol, name, protocol.budgets[name], grids, verdicts, facts, list(pictures))
    (place / "README.md").write_text(text, encoding="utf-8")
    print(f"written: {place}")


def machine(manifest: Mapping[str, Any]) -> str:
    """The device and the version of torch that trained a run."""
    return f"{manifest['device']}, torch {manifest['packages']['torch']}"


def code(manifest: Mapping[str, Any]) -> str:
    """The code that trained a run: its revision, and the digest of its source, which tells a changed one from it."""
    return f"revision {(manifest['git_revision'] or 'unknown')[:7]}, source {manifest['source_sha256'][:8]}"


if __name__ == "__main__":
    main()
