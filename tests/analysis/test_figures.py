from pathlib import Path

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.image import imread

from bcq_exp.analysis.comparison import compare
from bcq_exp.analysis.figures import (
    COLOURS,
    MOST_NAMED,
    best_of,
    final_returns,
    learning_curves,
    profiles,
    save,
    sensitivity,
)
from bcq_exp.analysis.results import read_results
from trained import write_run


def test_the_plot_shows_curves_and_the_behaviour(runs: Path):
    save(learning_curves(compare(read_results([runs]))), runs / "curves.png")
    pixels = imread(runs / "curves.png")
    assert pixels.shape[0] > 300
    assert len({tuple(pixel) for row in pixels[::5] for pixel in row[::5].round(1)}) > 5


def test_each_behaviours_line_is_its_own_and_as_long_as_its_runs(tmp_path: Path):
    write_run(tmp_path / "a", algorithm="bcq", seed=0, returns=[1, 2], typed=("dataset.fraction=0.5",))
    write_run(tmp_path / "b", algorithm="bc", seed=0, returns=[1, 2, 3])
    write_run(tmp_path / "c", algorithm="td3", seed=0, returns=[1, 2, 3, 4], behaviour_return=70.0)
    (axes,) = learning_curves(compare(read_results([tmp_path]))).axes
    labelled = {str(line.get_label()): line for line in axes.collections if line.get_label()}
    lines = {
        label: line.get_segments()[0].tolist() for label, line in labelled.items() if label.startswith("behaviour")
    }
    assert lines == {
        "behaviour of bc, bcq": [[0, 50], [30, 50]],
        "behaviour of td3": [[0, 70], [40, 70]],
    }
    assert [line.get_xdata()[-1] for line in axes.lines] == [40, 30, 20]  # the best first


def test_data_that_two_machines_recorded_have_one_line(tmp_path: Path):
    write_run(tmp_path / "a", algorithm="bcq", seed=0, returns=[1, 2], behaviour_return=-784.0810875093888)
    write_run(tmp_path / "b", algorithm="bc", seed=0, returns=[1, 2], behaviour_return=-784.0810875093871)
    (axes,) = learning_curves(compare(read_results([tmp_path]))).axes
    (line,) = [line for line in axes.collections if str(line.get_label()).startswith("behaviour")]
    assert (line.get_label(), line.get_segments()[0].tolist()) == ("behaviour", [[0, -784.081], [20, -784.081]])


def test_a_legend_leaves_the_panel_its_width(tmp_path: Path):
    for number in range(8):
        write_run(tmp_path / f"{number}", algorithm="bcq", seed=0, returns=[0, 1],
                  typed=(f"algorithm.lmbda=0.{number}",), behaviour_return=number % 2)  # fmt: skip
    figure = learning_curves(compare(read_results([tmp_path])))
    figure.draw_without_rendering()
    (axes,) = figure.axes
    assert axes.get_window_extent().width > 0.5 * figure.bbox.width


def test_of_many_rows_the_best_have_names_and_the_others_are_there(tmp_path: Path):
    for number in range(MOST_NAMED + 2):
        write_run(tmp_path / f"{number}", algorithm="bcq", seed=0, returns=[0, number],
                  typed=(f"algorithm.lmbda=0.{number:02}",))  # fmt: skip
    figure = learning_curves(compare(read_results([tmp_path])))
    figure.draw_without_rendering()
    (axes,) = figure.axes
    assert axes.get_legend().get_window_extent().y0 >= 0  # it is not cut
    names = [text.get_text() for text in axes.get_legend().get_texts()]
    best = [f"bcq lmbda=0.{MOST_NAMED + 1 - place:02} (1 seed)" for place in range(MOST_NAMED)]
    assert names == [*best, "behaviour", "2 more"]
    ends = [line.get_ydata()[-1] for line in axes.lines if len(line.get_ydata())]
    assert sorted(ends) == list(range(MOST_NAMED + 2))
    assert len({(line.get_linestyle(), line.get_color()) for line in axes.lines}) == MOST_NAMED + 1
    greys = [colour for colour in COLOURS if np.ptp(to_rgb(colour)) < 0.1]
    assert greys == []  # which are the others, and the behaviour


def test_final_returns_are_drawn_with_their_seeds_the_best_on_top(runs: Path):
    (axes,) = final_returns(compare(read_results([runs]))[0]).axes
    assert [label.get_text() for label in axes.get_yticklabels()] == ["bcq", "bc"]
    seeds = {tuple(line.get_xdata()) for line in axes.lines if line.get_markersize() == 11}
    assert seeds == {(6.0, 8.0), (9.0,)}


def test_a_profile_falls_from_all_runs_to_none(tmp_path: Path):
    for dataset in ("d", "e"):
        for seed, score in enumerate((20.0, 40.0)):
            facts = {"dataset": dataset, "final_normalized_score": score}
            write_run(tmp_path / f"{dataset}{seed}", algorithm="bcq", seed=seed, returns=[1], **facts)
    figure = profiles(compare(read_results([tmp_path])))
    assert figure is not None
    (line,) = figure.axes[0].lines
    shares = dict(zip(line.get_xdata().round(3).tolist(), line.get_ydata().tolist(), strict=True))
    assert (shares[0.0], shares[20.0], shares[40.0]) == (1, 0.5, 0)  # strictly above


def test_a_key_over_two_powers_of_ten_has_a_logarithmic_axis(tmp_path: Path):
    for place, rate in enumerate((0.0001, 0.001, 0.01)):
        write_run(tmp_path / f"{place}", algorithm="bcq", seed=0, returns=[place], typed=(f"optimizer.lr={rate}",))
    comparison = compare(read_results([tmp_path]))[0]
    (figure,) = sensitivity(comparison)
    assert (figure.axes[0].get_xscale(), figure.axes[0].get_xlabel()) == ("log", "lr")
    write_run(tmp_path / "zero", algorithm="bcq", seed=0, returns=[3], typed=("optimizer.lr=0",))
    (with_zero,) = sensitivity(compare(read_results([tmp_path]))[0])
    assert with_zero.axes[0].get_xscale() == "symlog"
    best = best_of(comparison)
    assert best is not None
    # Of 0, 1, 2 drawn with replacement: 1, then (0 + 3 * 1 + 5 * 2) / 9, then (0 + 7 * 1 + 19 * 2) / 27.
    assert best.axes[0].lines[0].get_ydata().tolist() == pytest.approx([1, 13 / 9, 45 / 27])
