"""A search as its user runs it: Optuna asks for batches, each trains as populations, and a killed one goes on."""

import csv
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from bcq_exp.io.files import read_json
from test_launcher import QUICK, on_file, summaries, sweep

SEARCH = ["hydra/sweeper=search", "hydra.sweeper.batch_size=2", "hydra.sweep.dir=search"]


def rows(directory: Path) -> list[dict[str, str]]:
    with (directory / "study.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_batch_is_a_population_and_the_mean_over_seeds_a_trials_value(tmp_path: Path, discrete_file: Path):
    typed = [*QUICK, *on_file(discrete_file), *SEARCH, "hydra.sweeper.num_seeds=2", "hydra.sweeper.num_trials=4",
             "algorithm.unlikely_action_threshold=interval(0,1)"]  # fmt: skip
    done = sweep(tmp_path, *typed)
    assert done.returncode == 0, done.stderr
    directory = tmp_path / "search"
    assert sorted(read_json(directory / "sweep.json")["batches"]) == ["0", "4"]
    found = rows(directory)
    assert [row["trial"] for row in found] == ["0", "1", "2", "3"]
    for row in found:
        runs = [read_json(directory / name / "summary.json") for name in row["runs"].split()]
        assert [run["seed"] for run in runs] == [0, 1]
        assert {run["num_members"] for run in runs} == {4}
        threshold = f"algorithm.unlikely_action_threshold={row['algorithm.unlikely_action_threshold']}"
        assert all(threshold in run["overrides"] for run in runs)
        returns = [run["final_return"] for run in runs]
        assert float(row["return"]) == pytest.approx(np.mean(returns))
        assert float(row["return_std"]) == pytest.approx(np.std(returns, ddof=1))

    longer = sweep(tmp_path, *typed, "hydra.sweeper.num_trials=5")
    assert longer.returncode == 0, longer.stderr
    assert rows(directory)[:4] == found
    assert len(rows(directory)) == 5
    other = sweep(tmp_path, *typed, "hydra.sweeper.sampler=random", "hydra.sweeper.num_seeds=3")
    assert other.returncode == 1
    assert "hydra.sweeper.sampler: tpe before, random now" in other.stderr
    assert "hydra.sweeper.seeds: 0,1 before, 0,1,2 now" in other.stderr


def test_a_search_that_was_killed_twice_equals_one_that_was_not(tmp_path: Path, discrete_file: Path):
    typed = [*QUICK, *on_file(discrete_file), *SEARCH, "num_updates=200", "checkpoint_freq=10",
             "hydra.sweeper.num_trials=6", "hydra.sweeper.sampler=tpe", "search=discrete_bcq",
             "algorithm.target_update_freq=100"]  # fmt: skip
    assert sweep(tmp_path, *typed, "hydra.sweep.dir=whole").returncode == 0
    command = [sys.executable, "-m", "bcq_exp.train", "-m", *typed]
    for num_checkpoints in (3, 9):  # in the first batch, and in a later one
        process = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 120
        while len(list((tmp_path / "search").glob("*/checkpoints/update_*"))) < num_checkpoints:
            assert time.monotonic() < deadline
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert len(summaries(tmp_path / "search")) < 6
    resumed = sweep(tmp_path, *typed)
    assert resumed.returncode == 0, resumed.stderr
    assert (tmp_path / "search" / "study.csv").read_text() == (tmp_path / "whole" / "study.csv").read_text()


def test_a_trial_that_diverges_has_failed_and_the_search_goes_on(tmp_path: Path, discrete_file: Path):
    done = sweep(tmp_path, *QUICK, *on_file(discrete_file), *SEARCH, "hydra.sweeper.sampler=grid",
                 "optimizer.lr=choice(1e-3,1e30,2e-3)")  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = rows(tmp_path / "search")
    assert [(row["state"], row["optimizer.lr"]) for row in found] == [
        ("finished", "0.001"), ("failed", "1e+30"), ("finished", "0.002")
    ]  # fmt: skip
    assert found[1]["return"] == ""


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["algorithm.unlikely_action_threshold=interval(0,2)"], "algorithm.unlikely_action_threshold=2.0 is outside"),
        (["optimizer.lr=interval(1e-3,1e-4)"], "give interval(a,b) with a below b"),
        (["optimizer.lr=tag(log,interval(0,1e-4))"], "and a above 0"),
        (["optimizer.lr=choice(1e-3,1e-3)"], "give different choices"),
        (["seed=0,1,2"], "give hydra.sweeper.num_seeds=3"),
        (["optimizer.lr=1e-3"], "nothing is searched"),
        (["optimizer.lr=1e-3,1e-4", "hydra.sweeper.sampler=nelder"], "is none of tpe"),
        (["optimizer.lr=interval(0.1,1)", "hydra.sweeper.sampler=grid"], "a grid has no intervals"),
        (["optimizer.lr=1e-3,1e-4", "hydra.sweeper.sampler=cmaes"], "searches numbers only"),
        (["optimizer.lr=1e-3,1e-4", "hydra/launcher=basic"], "needs hydra/launcher=population"),
        (["optimizer.lr=1e-3,1e-4", "dataset.path=nowhere.h5"], "nowhere.h5: no such file"),
    ],
)
def test_what_is_wrong_is_said_before_anything_is_written(
    tmp_path: Path, discrete_file: Path, overrides: list[str], said: str
):
    done = sweep(tmp_path, *QUICK, *on_file(discrete_file), *SEARCH, *overrides)
    assert done.returncode == 1
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []
