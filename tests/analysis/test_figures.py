from pathlib import Path

from matplotlib.image import imread

from bcq_exp.analysis.figures import learning_curves, plot
from bcq_exp.analysis.results import read_results
from trained import write_run


def test_the_plot_shows_curves_and_the_behaviour(runs: Path):
    plot(read_results([runs]), runs / "curves.png")
    pixels = imread(runs / "curves.png")
    assert pixels.shape[0] > 300
    assert len({tuple(pixel) for row in pixels[::5] for pixel in row[::5].round(1)}) > 5


def test_each_behaviours_line_is_its_own_and_as_long_as_its_runs(tmp_path: Path):
    write_run(tmp_path / "a", algorithm="bcq", seed=0, returns=[1, 2], typed=("dataset.fraction=0.5",))
    write_run(tmp_path / "b", algorithm="bc", seed=0, returns=[1, 2, 3])
    write_run(tmp_path / "c", algorithm="td3", seed=0, returns=[1, 2, 3, 4], behaviour_return=70.0)
    (axes,) = learning_curves(read_results([tmp_path])).axes
    labelled = {str(line.get_label()): line for line in axes.collections if line.get_label()}
    lines = {
        label: line.get_segments()[0].tolist() for label, line in labelled.items() if label.startswith("behaviour")
    }
    assert lines == {
        "behaviour of bcq dataset.fraction=0.5, bc": [[0, 50], [30, 50]],
        "behaviour of td3": [[0, 70], [40, 70]],
    }
    assert [line.get_xdata()[-1] for line in axes.lines] == [20, 30, 40]
