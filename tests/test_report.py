import csv
import math
import re
import subprocess
import sys
from pathlib import Path

import pytest
from matplotlib.image import imread
from rich.console import Console

from bcq_exp.files import write_json
from bcq_exp.report import grouped, interval, plot, read_runs, tables


def make_run(directory: Path, *, algorithm: str, seed: int, returns: list[float], status: str = "finished",
             typed: tuple[str, ...] = ()) -> None:  # fmt: skip
    directory.mkdir(parents=True)
    summary = {
        "algorithm": algorithm,
        "dataset": "cartpole-noisy",
        "seed": seed,
        "overrides": ["experiment=main", f"seed={seed}", "eval_freq=10", *typed],
        "behaviour_return": 50.0,
        "status": status,
        "num_updates": 10 * len(returns),
        "final_return": returns[-1] if returns else None,
        "final_normalized_score": returns[-1] / 10 if returns else None,
        "updates_per_second": 100.0,
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
    console = Console(width=120, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
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
