import logging
from pathlib import Path

import pytest

from bcq_exp.analysis.comparison import compare
from bcq_exp.analysis.report import apart_from, present
from bcq_exp.analysis.results import read_results
from bcq_exp.analysis.tables import over_seeds
from bcq_exp.analysis.wandb_results import read_wandb_results, results_of
from bcq_exp.io.wandb_runs import WandbRun
from cases import SUMMARY
from trained import write_run
from uploaded import upload
from wandb_server import ENTITY, WandbServer


def test_a_group_gives_the_tables_that_its_directories_give(wandb_server: WandbServer, runs: Path):
    """A failed run, a typed setting and an unknown score included."""
    write_run(runs / "e", algorithm="bc", seed=1, returns=[1, 2], final_normalized_score=None, dataset="h5")
    upload(wandb_server, runs, group="baselines")
    results = read_wandb_results(ENTITY, "bcq_exp", ["baselines"])
    ours, theirs = ([over_seeds(each) for each in compare(found)] for found in (read_results([runs]), results))
    assert theirs == ours
    assert {result.directory.name: result.evaluations for result in results} == {
        result.directory.name: result.evaluations for result in read_results([runs])
    }
    assert str(results[0].directory) == f"{ENTITY}/bcq_exp/a"


def test_a_run_counts_once(wandb_server: WandbServer, runs: Path, tmp_path_factory: pytest.TempPathFactory):
    others = tmp_path_factory.mktemp("others")
    write_run(others / "z", algorithm="bcq", seed=7, returns=[1, 2, 3, 4, 5, 6])
    for directory in (runs, others):
        upload(wandb_server, directory, group="shared")
    found = read_wandb_results(ENTITY, "bcq_exp", ["shared"])
    assert [result.directory.name for result in apart_from(read_results([runs]), found)] == ["z"]
    present([runs], found)
    assert "| bcq | 3 (1 failed) |" in (runs / "tables.md").read_text()


def test_without_a_directory_the_files_have_a_folder(wandb_server: WandbServer, runs: Path, tmp_path: Path):
    upload(wandb_server, runs, group="g")
    folder = tmp_path / "outputs" / "entity-project-g"
    present([], read_wandb_results(ENTITY, "bcq_exp", ["g"]), folder)
    assert "| bc | 1 |" in (folder / "tables.md").read_text()
    assert len((folder / "results.csv").read_text().splitlines()) == 5


def wandb_run(evaluations: list[tuple[int, float]], **changed: object) -> WandbRun:
    return WandbRun("e/p/run1", "a run", "finished", "g", {**SUMMARY, **changed}, evaluations)


def test_runs_that_cannot_be_compared_are_named_and_left_out(caplog: pytest.LogCaptureFixture):
    whole = wandb_run([(10, 3.0), (20, 9.0)])
    assert results_of([whole])[0].summary["final_normalized_score"] is None
    strange = WandbRun("e/p/run2", "of other code", "finished", "g", {"loss": 1.0}, [])
    with caplog.at_level(logging.WARNING):
        assert results_of([wandb_run([(10, 3.0)]), strange]) == []
    first, second = caplog.messages
    assert first == (
        "the summary of e/p/run1 (a run, finished) and its last evaluation differ, so it has not been uploaded whole;"
        " the run is left out"
    )
    assert second.startswith("the summary of e/p/run2 (of other code, finished) lacks algorithm, dataset, seed, ")
