import csv
import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from optuna.trial import TrialState
from rich.console import Console

from bcq_exp.search import objectives
from bcq_exp.search.figures import history, importances, pareto
from bcq_exp.search.report import best_first, present, table, write_csv
from bcq_exp.search.study import Study
from search.imitation import Runs, search, settings_of, value_of

OPE = [1.0, 5.0, 4.0, 2.0]  # of four trials; their returns are 10, 20, 30 and 25


@pytest.fixture
def two_objectives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Study]:
    numbers: dict[str, int] = {}

    def number(words: Sequence[str]) -> int:
        return numbers.setdefault(value_of(words, "algorithm.lmbda"), len(numbers))

    def estimates(run_dirs: Sequence[Path], request: object) -> list[float]:
        return [OPE[[10.0, 20.0, 30.0, 25.0].index(value)] for value in objectives.final_returns(run_dirs, request)]

    monkeypatch.setitem(objectives.OBJECTIVES, "ope", replace(objectives.OBJECTIVES["ope"], measure=estimates))
    settings = settings_of(objectives=["return", "ope"], num_trials=4, sampler="random")
    search(tmp_path, settings, Runs(tmp_path / "runs", lambda words: [[10.0, 20.0, 30.0, 25.0][number(words)]]))
    with Study.opened(settings, tmp_path) as study:
        yield study


def test_the_pareto_front_is_of_trials_that_no_other_is_better_than_in_both(two_objectives: Study, tmp_path: Path):
    assert [trial.values for trial in two_objectives.trials] == [[10, 1], [20, 5], [30, 4], [25, 2]]
    assert [trial.number for trial in best_first(two_objectives)] == [2, 1]
    assert table(two_objectives).title == "Pareto front"
    figure = pareto(two_objectives.trials, two_objectives.optuna.best_trials, ["return", "ope"])
    (axes,) = figure.axes
    others, front = axes.get_lines()
    assert front.get_xydata().tolist() == [[20, 5], [30, 4]]
    assert len(others.get_xydata()) == 4
    present(two_objectives, tmp_path)
    for name in ("history", "importance", "pareto"):
        assert (tmp_path / f"{name}.png").read_bytes().startswith(b"\x89PNG")


def test_a_table_ranks_trials_and_a_file_has_them_all(tmp_path: Path):
    def returns(words: Sequence[str]) -> list[float]:
        lmbda, seed = float(value_of(words, "algorithm.lmbda")), int(value_of(words, "seed"))
        return [] if lmbda < 0.45 else [round(100 * lmbda) + 10.0 * seed]

    settings = settings_of(num_seeds=2, num_trials=8)
    trials = search(tmp_path, settings, Runs(tmp_path / "runs", returns))
    with Study.opened(settings, tmp_path) as study:
        best = best_first(study)
        assert 1 < len(best) < 8
        assert [trial.value for trial in best] == sorted((t.value for t in trials if t.value is not None), reverse=True)
        console = Console(width=200, record=True, file=(tmp_path / "shown").open("w"))
        console.print(table(study))
        shown = console.export_text()
        assert f"{best[0].value:.1f} ± 7.1" in shown
        assert f"lmbda={best[0].params['algorithm.lmbda']:.3g}" in shown
        assert f"{len(best)} finished, {8 - len(best)} failed" in shown
        write_csv(study, tmp_path / "study.csv")
        (axes,) = history(study.trials, ["return"]).axes
        best_so_far, means, failed = axes.get_lines()
        assert best_so_far.get_ydata()[-1] == best[0].value
        assert [*means.get_xdata()] == [t.number for t in trials if t.state == TrialState.COMPLETE]
        assert [*failed.get_xdata()] == [t.number for t in trials if t.state == TrialState.FAIL]
    with (tmp_path / "study.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    for row, trial in zip(rows, trials, strict=True):
        assert float(row["algorithm.tau"]) == trial.params["algorithm.tau"]
        if trial.state == TrialState.FAIL:
            assert (row["state"], row["return"], row["return_by_seed"]) == ("failed", "", "")
        else:
            assert [float(value) for value in row["return_by_seed"].split()] == trial.user_attrs["by_seed"]["return"]
            assert float(row["return_std"]) == pytest.approx(10 / math.sqrt(2))


def test_the_parameter_that_decides_is_the_important_one(tmp_path: Path):
    settings = settings_of(num_trials=30, batch_size=30, sampler="random")
    search(tmp_path, settings, Runs(tmp_path / "runs"))  # 100 times lmbda
    with Study.opened(settings, tmp_path) as study:
        shares = importances(study, 0)
    assert shares["algorithm.lmbda"] > 0.8
    assert sum(shares.values()) == pytest.approx(1)


def test_a_search_without_a_trial_that_finished_is_reported_too(tmp_path: Path):
    settings = settings_of(num_trials=2)
    search(tmp_path, settings, Runs(tmp_path / "runs", lambda words: []))
    with Study.opened(settings, tmp_path) as study:
        present(study, tmp_path)
    assert (tmp_path / "study.csv").exists()
    assert not (tmp_path / "history.png").exists()
