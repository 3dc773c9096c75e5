"""The gallery: its sweeps are what they say, and a small one is trained and drawn."""

from importlib import import_module
from pathlib import Path

import pytest

from bcq_exp.analysis.results import Result
from bcq_exp.selection.request import checked_request
from cases import checked, composed
from experiments.gallery import ope_choice
from experiments.gallery.study import Study, trained
from trained import on_file

FOLDER = Path(__file__).parents[2] / "experiments" / "gallery"
STUDIES: dict[str, Study] = {
    name: import_module(f"experiments.gallery.{name}").STUDY for name in ("threshold", "lmbda", "tau", "quantile_heads")
}


@pytest.mark.parametrize("name", STUDIES)
def test_each_value_of_a_sweep_is_the_runs(name: str):
    study = STUDIES[name]
    fixed = [word for word in study.words if not word.startswith("seed=")]
    found = [
        getattr(checked(*fixed, f"{study.key}={value}").algorithm, study.key.removeprefix("algorithm."))
        for value in study.values
    ]
    assert found == [None if value == "null" else float(value) for value in study.values]


def test_every_study_has_its_picture_and_its_words():
    page = (FOLDER / "README.md").read_text()
    for name in (*STUDIES, "ope_choice"):
        assert (FOLDER / f"{name}.png").stat().st_size < 100_000
        assert f"({name}.png)" in page
        assert f"({name}.py)" in page


def test_a_small_sweep_is_trained_and_drawn(tmp_path: Path, discrete_file: Path):
    study = STUDIES["threshold"]
    small = ("num_updates=20", "eval_freq=10", "eval_episodes=1", "batch_size=8", "seed=0,1", "compile=never")
    results = trained([*study.command, *on_file(discrete_file), *small, f"{study.key}=0,1"], tmp_path / "sweep")
    assert len(results) == 4
    returns, kept = Study(study.key, ("0", "1"), (), study.diagnostic, study.label).picture(results).axes
    assert [label.get_text() for label in kept.get_xticklabels()] == ["0", "1"]
    assert_means(returns, results)
    means = kept.lines[0].get_ydata()
    assert list(means) == [1.0, 0.5]  # of two actions: all, and the likeliest


def assert_means(axes, results: list[Result]) -> None:
    """The first line of a panel has the mean return of each value."""
    of = [[r.final for r in results if f"algorithm.unlikely_action_threshold={v}" in r.overrides] for v in "01"]
    assert list(axes.lines[0].get_ydata()) == pytest.approx([sum(finals) / len(finals) for finals in of])


def test_the_choice_is_asked_for_as_the_evaluation_takes_it():
    request = checked_request(composed("run=DIR", *ope_choice.ASKED, config="evaluate"))
    assert (tuple(request.estimators), request.settings.select) == (ope_choice.ESTIMATORS, True)


def test_the_picture_of_the_choice_rings_the_chosen_run():
    def run(name: str, online: float, value: float, **objections: str) -> dict:
        estimates = {each: {"value": value} for each in ope_choice.ESTIMATORS}
        return {"run": name, "online_return": online, "estimates": estimates, "objections": objections}

    runs = [run("a", 10.0, 1.0), run("b", 20.0, 3.0), run("c", 5.0, 9e9, fqe="beyond any return")]
    figure = ope_choice.picture({"settings": [{"runs": runs}], "chosen": {"run": "b"}})
    assert [axes.get_title() for axes in figure.axes] == list(ope_choice.ESTIMATORS)
    objected, sound, ring = ([*map(float, line.get_xdata())] for line in figure.axes[0].lines)
    assert (objected, sound, ring) == ([5.0], [10.0, 20.0], [20.0])
