import csv
import math
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from matplotlib.image import imread
from rich.console import Console

from bcq_exp.analysis.report import drawn, grouped, interval, plot, read_runs, tables
from bcq_exp.io.files import write_json


def make_run(directory: Path, *, algorithm: str, seed: int, returns: list[float], status: str = "finished",
             typed: tuple[str, ...] = (), **facts: Any) -> None:  # fmt: skip
    directory.mkdir(parents=True)
    summary = {
        "algorithm": algorithm,
        "dataset": "cartpole-noisy",
        "env": "CartPole-v1",
        "seed": seed,
        "overrides": ["experiment=main", f"seed={seed}", "eval_freq=10", *typed],
        "behaviour_return": 50.0,
        "status": status,
        "num_updates": 10 * len(returns),
        "final_return": returns[-1] if returns else None,
        "final_normalized_score": returns[-1] / 10 if returns else None,
        "updates_per_second": 100.0,
        **facts,
    }
    write_json(directory / "summary.json", summary)
    with (directory / "metrics.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["update", "train/loss", "eval/return"])
        writer.writerow([5, 1.0, ""])
        writer.writerows([[10 * (i + 1), 1.0, value] for i, value in enumerate(returns)])


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    make_run(tmp_path / "a", algorithm="bcq", seed=0, returns=[1, 2, 3, 4, 5, 6])
    make_run(tmp_path / "b", algorithm="bcq", seed=1, returns=[3, 4, 5, 6, 7, 8])
    make_run(tmp_path / "c", algorithm="bcq", seed=2, returns=[], status="failed")
    make_run(tmp_path / "d", algorithm="bc", seed=0, returns=[9, 9, 9, 9, 9, 9], typed=("optimizer.lr=0.1",))
    return tmp_path


def printed(directory: Path) -> str:
    console = Console(width=160, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    for table in tables(read_runs([directory])):
        console.print(table)
    return console.export_text()


def test_interval_by_hand():
    # Mean 5, squared deviations 4 + 0 + 4, so the deviation is 2; t(0.975, 2) = 4.302653.
    assert interval([3, 5, 7]) == pytest.approx((5, 2, 4.302653 * 2 / math.sqrt(3)), rel=1e-6)
    assert interval([4])[0] == 4
    assert math.isnan(interval([4])[2])


def test_runs_that_differ_in_more_than_their_seed_are_kept_apart(runs: Path):
    groups = grouped(read_runs([runs]))["cartpole-noisy"]
    assert {name: len(group) for name, group in groups.items()} == {"bcq": 3, "bc optimizer.lr=0.1": 1}


def test_the_table_reports_the_final_return_over_seeds_and_keeps_failures(runs: Path):
    text = printed(runs)
    bc, bcq = (line for line in text.splitlines() if line.strip().startswith("bc"))
    assert "bc optimizer.lr=0.1" in bc  # 9 beats 7
    assert re.split(r"\s{2,}", bc.strip())[2:4] == ["9.0", "9.0"]  # one seed has no spread
    cells = re.split(r"\s{2,}", bcq.strip())
    # Finals 6 and 8: mean 7, deviation sqrt(2). Last five: means 4 and 6, so 5 ± t(0.975, 1) sqrt(2) / sqrt(2).
    assert cells == ["bcq", "2 (1 failed)", "7.0 ± 1.4", "5.0 ± 12.7", "0.7", "100"]
    assert "behaviour: 50.0" in text


def test_the_plot_shows_curves_and_the_behaviour(runs: Path):
    plot(read_runs([runs]), runs / "curves.png")
    pixels = imread(runs / "curves.png")
    assert pixels.shape[0] > 300
    assert len({tuple(pixel) for row in pixels[::5] for pixel in row[::5].round(1)}) > 5


def rows_of(text: str) -> list[list[str]]:
    return [re.split(r"\s{2,}", line.strip()) for line in text.splitlines() if line.strip().startswith("b")]


def test_runs_of_other_data_or_length_have_rows_of_their_own_with_both(tmp_path: Path):
    """The same command on data that has changed since, and once more for half as long."""
    make_run(tmp_path / "a", algorithm="bcq", seed=0, returns=[1, 2])
    make_run(tmp_path / "b", algorithm="bcq", seed=1, returns=[3, 4])
    make_run(tmp_path / "c", algorithm="bcq", seed=2, returns=[6, 6], behaviour_return=70.0)
    make_run(tmp_path / "d", algorithm="bcq", seed=3, returns=[7])
    make_run(tmp_path / "e", algorithm="bcq", seed=4, returns=[], status="failed", num_updates=3)
    make_run(tmp_path / "f", algorithm="bc", seed=0, returns=[9], final_cut_episodes=2)
    text = printed(tmp_path)
    assert [row[:5] for row in rows_of(text)] == [
        ["bc", "10", "50.0", "1 (1 cut)", "9.0"],
        ["bcq behaviour=50 num_updates=10", "10", "50.0", "1", "7.0"],
        ["bcq behaviour=70 num_updates=20", "20", "70.0", "1", "6.0"],
        ["bcq behaviour=50 num_updates=20", "20", "50.0", "2 (1 failed)", "3.0 ± 1.4"],
    ]
    assert "mean returns, over seeds" in text
    assert "mean return of the behaviour" not in text
    assert re.search(r"run +updates +behaviour +seeds", text)


def test_what_all_rows_share_is_said_once(runs: Path):
    text = printed(runs)
    assert "cartpole-noisy: mean returns after 60 updates, over seeds" in text
    assert "mean return of the behaviour: 50.0" in text


def test_one_dataset_name_in_two_environments_is_two_tables(tmp_path: Path):
    make_run(tmp_path / "a", algorithm="bcq", seed=0, returns=[1], dataset="h5", env="Hopper-v5")
    make_run(
        tmp_path / "b", algorithm="bcq", seed=0, returns=[5], dataset="h5", env="Walker2d-v5", behaviour_return=9.0
    )
    make_run(tmp_path / "c", algorithm="bc", seed=0, returns=[7], dataset="other", env="Hopper-v5")
    found = tables(read_runs([tmp_path]))
    assert [str(table.title).split(":")[0] for table in found] == ["h5 in Hopper-v5", "h5 in Walker2d-v5", "other"]
    assert [str(table.caption)[-4:] for table in found] == ["50.0", " 9.0", "50.0"]


def test_each_behaviours_line_is_its_own_and_as_long_as_its_runs(tmp_path: Path):
    make_run(tmp_path / "a", algorithm="bcq", seed=0, returns=[1, 2], typed=("dataset.fraction=0.5",))
    make_run(tmp_path / "b", algorithm="bc", seed=0, returns=[1, 2, 3])
    make_run(tmp_path / "c", algorithm="td3", seed=0, returns=[1, 2, 3, 4], behaviour_return=70.0)
    (axes,) = drawn(read_runs([tmp_path])).axes
    labelled = {str(line.get_label()): line for line in axes.collections if line.get_label()}
    lines = {
        label: line.get_segments()[0].tolist() for label, line in labelled.items() if label.startswith("behaviour")
    }
    assert lines == {
        "behaviour of bcq dataset.fraction=0.5, bc": [[0, 50], [30, 50]],
        "behaviour of td3": [[0, 70], [40, 70]],
    }
    assert [line.get_xdata()[-1] for line in axes.lines] == [20, 30, 40]


def test_a_directory_without_runs_is_one_short_message(tmp_path: Path):
    command = [sys.executable, "-m", "bcq_exp.report", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr == f"error: no summary.json below {tmp_path}: no run has ended there\n"


def test_a_damaged_run_is_left_out_and_named_and_the_others_are_reported(runs: Path, caplog: pytest.LogCaptureFixture):
    (runs / "a" / "summary.json").write_text("")
    (runs / "b" / "metrics.csv").write_bytes(b"update,eval/ret\xff\n")
    (runs / "c" / "metrics.csv").write_text("update,eval/return\n5,\n10,x\n")
    assert [run.directory.name for run in read_runs([runs])] == ["d"]
    said = [record.message for record in caplog.records]
    assert len(said) == 3
    for name, file, line in zip("abc", ("summary.json", "metrics.csv", "metrics.csv"), said, strict=True):
        assert line.startswith(f"{runs / name / file} ")
        assert f"resume={runs / name} writes it anew" in line
    (runs / "d" / "metrics.csv").unlink()
    with pytest.raises(ValueError, match=r"every run below .* that has ended is damaged"):
        read_runs([runs])
