"""A search as its user runs it: Optuna asks for batches, each trains as populations, and a killed one goes on."""

import csv
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hydra._internal.callbacks import Callbacks
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.types import HydraContext
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from bcq_exp.io.files import read_json
from bcq_exp.io.source import CONF_DIR
from bcq_exp.search.samplers import ends
from bcq_exp.training.config import _sweep_hash
from cases import checked, composed
from hydra_plugins.bcq_exp_search import SearchSweeper, distribution
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


def test_a_search_that_was_killed_equals_one_that_was_not(tmp_path: Path, discrete_file: Path):
    typed = [*QUICK, *on_file(discrete_file), *SEARCH, "checkpoint_freq=10", "hydra.sweeper.num_trials=4",
             "search=discrete_bcq", "algorithm.target_update_freq=100"]  # fmt: skip
    assert sweep(tmp_path, *typed, "hydra.sweep.dir=whole").returncode == 0
    process = subprocess.Popen(
        [sys.executable, "-m", "bcq_exp.train", "-m", *typed], cwd=tmp_path, stderr=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 120
    while len(list((tmp_path / "search").glob("*/checkpoints/update_*"))) < 6:  # four are of the first batch
        assert time.monotonic() < deadline
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert len(summaries(tmp_path / "search")) < 4
    resumed = sweep(tmp_path, *typed)
    assert resumed.returncode == 0, resumed.stderr
    assert (tmp_path / "search" / "study.csv").read_text() == (tmp_path / "whole" / "study.csv").read_text()


def test_pruning_ends_runs_and_a_trial_that_diverges_has_failed(tmp_path: Path, discrete_file: Path):
    done = sweep(tmp_path, *QUICK, *on_file(discrete_file), *SEARCH, "hydra.sweeper.batch_size=4", "eval_freq=20",
                 "hydra.sweeper.sampler=grid", "hydra.sweeper.pruning=successive_halving", "hydra.sweeper.num_seeds=2",
                 "optimizer.lr=choice(1e-3,1e30,1e-1,1e-8)")  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = rows(tmp_path / "search")
    assert [row["optimizer.lr"] for row in found] == ["0.001", "1e+30", "0.1", "1e-08"]
    assert found[1]["state"] == "failed"
    assert sorted(row["state"] for row in found) == ["failed", "finished", "pruned", "pruned"], found
    for row in found:
        runs = [read_json(tmp_path / "search" / name / "summary.json") for name in row["runs"].split()]
        assert {run["status"] for run in runs} == {row["state"]}
        if row["state"] == "pruned":
            (pruned_at,) = {run["pruned_at"] for run in runs}
            assert pruned_at in (20, 40)
            assert {run["num_updates"] for run in runs} == {pruned_at}
            assert float(row["return"]) == pytest.approx(np.mean([run["final_return"] for run in runs]))
    report = subprocess.run([sys.executable, "-m", "bcq_exp.report", "search"], cwd=tmp_path, capture_output=True,
                            text=True, timeout=120)  # fmt: skip
    assert report.stdout.count("0 (2 pruned)") == 2
    assert report.stdout.count("0 (2 failed)") == 1


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["algorithm.unlikely_action_threshold=interval(0,2)"], "algorithm.unlikely_action_threshold=2.0 is outside"),
        (["optimizer.lr=1e-3,1e-4", "hydra/launcher=basic"], "needs hydra/launcher=population"),
        (["optimizer.lr=1e-3,1e-4", "dataset.path=nowhere.h5"], "nowhere.h5: no such file"),
        (["optimizer.lr=1e-3,1e-4", "resume=false", "hydra.sweeper.storage=a.db"], "give another storage"),
        (["optimizer.lr=1e-3,1e-4", "hydra.launcher.executor=submitit_local",
          "hydra.sweeper.pruning=successive_halving"], "gives each group one of its own"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_before_anything_is_written(
    tmp_path: Path, discrete_file: Path, overrides: list[str], said: str
):
    done = sweep(tmp_path, *QUICK, *on_file(discrete_file), *SEARCH, *overrides)
    assert done.returncode == 1
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


def parsed(line: str) -> Any:
    return distribution(OverridesParser.create().parse_override(line))


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("a.lr=interval(0, 1)", FloatDistribution(0.0, 1.0)),
        ("a.lr=tag(log, interval(1e-4, 1e-2))", FloatDistribution(1e-4, 1e-2, log=True)),
        ("a.n=int(interval(2, 9))", IntDistribution(2, 9)),
        ("a.n=tag(log, int(interval(2, 900)))", IntDistribution(2, 900, log=True)),
        ("a.n=range(10)", IntDistribution(0, 9)),
        ("a.n=range(16, 64, 16)", IntDistribution(16, 48, step=16)),
        ("a.n=range(9, 0, -3)", IntDistribution(3, 9, step=3)),
        ("a.x=range(0.5, 1.5, 0.25)", FloatDistribution(0.5, 1.25, step=0.25)),
        ("a.x=choice(0.1, true, [8,8])", CategoricalDistribution(["0.1", "True", "[8,8]"])),
        ("a.x=adam,'s g d'", CategoricalDistribution(["adam", "'s g d'"])),
        ("a.x=choice(3)", None),
        ("a.x=[1,2]", None),
    ],
)
def test_the_grammar_of_sweeps_is_the_grammar_of_spaces(line: str, found: Any):
    assert parsed(line) == found


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("lr=interval(1e-3,1e-4)", "give interval(a,b) with a below b"),
        ("lr=tag(log,interval(0,1e-4))", "and a above 0"),
        ("lr=choice(1e-3,1e-3)", "give different choices"),
        ("lr=tag(log,choice(1,2))", "and no tag"),
        ("n=range(3,4)", "two values or more"),
    ],
)
def test_what_is_no_space_is_refused(line: str, said: str):
    with pytest.raises(ValueError) as caught:
        parsed(line)
    assert said in str(caught.value)
    assert line.split("=")[0] in str(caught.value)


@pytest.mark.parametrize(
    ("params", "typed", "said"),
    [
        ({}, ["seed=0,1,2"], "give hydra.sweeper.num_seeds=3"),
        ({"optimizer.lr": "interval(1"}, [], "hydra.sweeper.params"),
    ],
)
def test_what_is_typed_takes_the_place_of_what_a_file_says(params: dict[str, str], typed: list[str], said: str):
    sweeper = SearchSweeper(params={"optimizer.lr": "interval(0,1)", **params}, evaluate=None)
    sweeper.context = HydraContext(config_loader=None, callbacks=Callbacks())
    with pytest.raises(SystemExit) as caught:
        sweeper.overrides(typed)
    assert said in str(caught.value)
    sweeper.params = {"optimizer.lr": "interval(0,1)", "algorithm.tau": "choice(1,2)"}
    assert [each.input_line for each in sweeper.overrides(["optimizer.lr=1e-3"])] == [
        "algorithm.tau=choice(1,2)", "optimizer.lr=1e-3"
    ]  # fmt: skip


@pytest.mark.parametrize("name", sorted(path.stem for path in (Path(CONF_DIR) / "search").glob("*.yaml")))
def test_every_space_is_of_keys_that_its_algorithm_has(name: str):
    cfg = composed(f"search={name}", hydra=True)
    assert cfg.hydra.runtime.choices["hydra/sweeper"] == ("once" if name == "none" else "search")
    for key, text in (cfg.hydra.sweeper.params or {}).items():
        space = parsed(f"{key}={text}")
        for value in ends(space):
            checked(f"search={name}", f"{key}={value}")


def test_a_study_is_named_by_what_decides_it():
    def of(*words: str) -> str:
        return _sweep_hash(["search=bcq"], ["hydra/sweeper=search", *words])

    assert of() == of("hydra.sweeper.num_trials=64") == of("hydra.sweeper.storage=a.db") == of("hydra.sweep.dir=a")
    assert len({of(), of("hydra.sweeper.sampler=random"), of("hydra.sweeper.num_seeds=3")}) == 3
