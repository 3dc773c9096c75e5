"""Rows that a table's folder keeps: what they stand for, and a table that is completed from them."""

import csv
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from bcq_exp.analysis.results_file import RESULTS
from bcq_exp.io.summary import SUMMARY, read_summary
from experiments.reproduce import training
from experiments.reproduce.__main__ import reproduce
from experiments.reproduce.cells import Cell, cells, identity
from experiments.reproduce.kept import PROVENANCE, kept_names, kept_rows, read_origins
from experiments.reproduce.protocol import Learner, Protocol, names, read_protocol
from experiments.reproduce.rows import trained_rows

LEARNER = Learner(["experiment=x"], sweep={"algorithm.phi": [0.0, 0.2, 1.0]})


def cell(folder: Path, learner: Learner = LEARNER) -> Cell:
    return Cell("pendulum-noisy", "bcq-phi", learner, 2, ("experiment=x", "optimizer.lr=3e-4"), folder)


def planned(protocol: Protocol, budget: str, folder: Path = Path("nowhere")) -> list[Cell]:
    return [*cells(protocol, protocol.budgets[budget], folder)]


def kept_by_tables() -> list[tuple[str, str]]:
    """Table and budget of all results that the repository keeps."""
    places = {table: read_protocol(table).folder.glob(f"*/{RESULTS}") for table in names()}
    found = [(table, path.parent.name) for table, paths in places.items() for path in paths]
    assert ("bcq-figure2", "cpu") in found
    return found


@pytest.mark.parametrize(("table", "budget"), kept_by_tables())
def test_all_rows_that_the_repository_keeps_are_of_todays_protocol(table: str, budget: str) -> None:
    protocol = read_protocol(table)
    place, wanted = protocol.folder / budget, planned(protocol, budget)
    if table == "baselines":  # its rows of CRR were trained before experiment=published/crr_mujoco had its target
        with pytest.raises(ValueError, match=r"experiment=published/crr_mujoco"):
            kept_rows(place, wanted)
        return
    found = {(cell.dataset, name) for cell, rows in kept_rows(place, wanted).items() for name in rows}
    assert found == kept_names(place)


def test_a_run_is_told_by_its_words_but_for_those_that_choose_where_it_trains() -> None:
    typed = identity(["optimizer.lr=3e-4", "network.hidden_sizes=[256,256]", "device=cuda", "num_threads=1", "seed=0"])
    assert typed == identity(["seed=0", "network.hidden_sizes=[256, 256]", "optimizer.lr=0.0003"])
    assert identity(["eval_freq=5000", "eval_freq=25000"]) == identity(["eval_freq=25000"])  # the last one counts
    assert typed != identity(["seed=1", "network.hidden_sizes=[256,256]", "optimizer.lr=3e-4"])


def test_a_run_that_the_protocol_does_not_train_stands_for_no_row(tmp_path: Path) -> None:
    protocol = read_protocol("bcq-control")
    text = (protocol.folder / "cpu" / RESULTS).read_text(encoding="utf-8")
    assert text.count("num_updates=50000") == 10
    (tmp_path / RESULTS).write_text(text.replace("num_updates=50000", "num_updates=20000", 1), encoding="utf-8")
    with pytest.raises(ValueError, match=r"run on pendulum-random and 4 more .*: .*num_updates=20000"):
        kept_rows(tmp_path, planned(protocol, "cpu"))
    lines = text.splitlines(keepends=True)
    (tmp_path / RESULTS).write_text("".join([*lines, lines[1]]), encoding="utf-8")  # a run twice
    with pytest.raises(ValueError, match=r"or not once"):
        kept_rows(tmp_path, planned(protocol, "cpu"))
    assert kept_rows(tmp_path / "none", planned(protocol, "cpu")) == {}


def test_results_without_their_origins_are_refused(tmp_path: Path) -> None:
    (tmp_path / RESULTS).write_text("")
    with pytest.raises(ValueError, match=r"provenance\.csv does not say where the rows"):
        kept_names(tmp_path)


def test_a_sweep_trains_what_is_left_of_the_rows_that_are_wanted(tmp_path: Path) -> None:
    folder = tmp_path / "bcq-phi"
    sweep = cell(folder)
    rows = ["phi=0.0", "phi=0.2", "phi=1.0"]
    assert sweep.left(rows, []) == rows
    assert sweep.left({"phi=1.0", "phi=0.0"}, ["phi=0.0"]) == ["phi=1.0"]
    assert (sweep.sweep(rows), sweep.sweep(rows[1:])) == (folder, folder / "0.2_1.0")
    assert sweep.command(["phi=1.0"])[4:] == (
        "experiment=x",
        "optimizer.lr=3e-4",
        "algorithm.phi=1.0",
        "seed=0,1",
        f"hydra.sweep.dir={folder / '1.0'}",
    )
    folder.mkdir()  # a sweep over all was begun: it goes on, and is not begun anew in another directory
    assert sweep.left(rows, ["phi=0.0"]) == rows
    assert sweep.left(rows, rows) == []
    both = cell(tmp_path / "both", Learner([], sweep={"algorithm.phi": [0.0, 1.0], "algorithm.tau": [0.1, 0.2]}))
    assert both.left(["phi=0.0 tau=0.1"], []) == [*both.settings]  # values are combined in full


def test_seconds_are_shared_by_the_rows_that_a_start_has_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sweep, clock = cell(tmp_path / "bcq-phi"), [0.0]

    def stopped(of: Cell, rows: Sequence[str]) -> None:
        clock[0] += 60.0
        raise ValueError("stopped")

    monkeypatch.setattr(training, "train", stopped)
    monkeypatch.setattr(training.time, "monotonic", lambda: clock[0])
    for wanted, ended in [(["phi=0.0", "phi=1.0"], []), (["phi=0.0"], []), ([*sweep.settings], ["phi=0.0"])]:
        with pytest.raises(ValueError, match="stopped"):
            training.train_all({sweep: wanted}, {sweep: ended}, tmp_path, num_jobs=1)
    seconds = {"phi=0.0": 30.0 + 60.0, "phi=1.0": 30.0 + 30.0, "phi=0.2": 30.0}
    assert training.read_seconds(tmp_path) == {f"pendulum-noisy {row}": took for row, took in seconds.items()}


def test_a_table_is_completed_from_the_rows_that_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Protocol, "folder", tmp_path)
    first, second, place = tmp_path / "first", tmp_path / "second", tmp_path / "smoke"
    part = ["table=ablations", "rows=num_sampled_action=1,num_sampled_action=10", "write=true"]
    reproduce([*part, f"folder={first}"])
    before = read_origins(place)
    assert {row for _, row in before} == {"num_sampled_action=1", "num_sampled_action=10"}
    page = (place / "README.md").read_text(encoding="utf-8")
    missing = "num_sampled_action=50, lmbda=0.0, lmbda=0.5, lmbda=1.0"
    assert f"not run yet: num_sampled_action=2, {missing}, bcq_unperturbed on" in page

    others = ["table=ablations", "rows=num_sampled_action=2,bcq_unperturbed", "write=true", f"folder={second}"]
    with pytest.raises(ValueError, match=r"keeps rows that are not here: num_sampled_action=1 on .*Add kept=true"):
        reproduce(others)
    assert not second.exists()  # nothing was trained

    reproduce([*others, "kept=true"])
    trained = [read_summary(path.parent)["overrides"] for path in second.rglob(SUMMARY)]
    assert {word for words in trained for word in words if word.startswith("algorithm.")} == {
        "algorithm.num_sampled_action=2",
        "algorithm.name=bcq_unperturbed",
    }
    after = read_origins(place)
    assert {key: after[key] for key in before} == before
    assert {row for _, row in after.keys() - before.keys()} == {"num_sampled_action=2", "bcq_unperturbed"}
    page = (place / "README.md").read_text(encoding="utf-8")
    assert f"not run yet: {missing} on" in page

    with (place / RESULTS).open(encoding="utf-8") as file:
        kept = {line["run"]: line["final_return"] for line in csv.DictReader(file)}
    for path in [*first.rglob(SUMMARY), *second.rglob(SUMMARY)]:
        assert float(kept.pop(path.parent.name)) == read_summary(path.parent)["final_return"]
    assert kept == {}
    assert (place / PROVENANCE).read_text(encoding="utf-8").splitlines()[0] == "dataset,row,seconds,machine,code"

    written = {path.name: path.read_bytes() for path in place.iterdir()}
    reproduce(["table=ablations", "kept=true", "train=false", "write=true", f"folder={tmp_path / 'none'}"])
    assert {path.name: path.read_bytes() for path in place.iterdir()} == written  # figures and origins, from them alone

    # a row that two sweeps have trained is one
    protocol = read_protocol("ablations")
    sampled, *_ = planned(protocol, "smoke", second / "ablations" / "smoke")
    shutil.copytree(sampled.folder / "2", sampled.folder / "2_50")
    assert {name: len(row.runs) for name, row in trained_rows(sampled).items()} == {"num_sampled_action=2": 1}

    # runs of what the protocol was before are no rows of it, and an error before any work
    changed = replace(protocol.budgets["smoke"], typed=[*protocol.budgets["smoke"].typed, "num_updates=50"])
    sampled, *_ = cells(protocol, changed, second / "ablations" / "smoke")
    with pytest.raises(
        ValueError, match=rf"{sampled.folder / '2'} has a run that .*: .*num_updates=40.*\. Move the folder"
    ):
        trained_rows(sampled)
