"""A sweeper that learns from results, as its user runs it: Optuna's asks for batch after batch."""

from pathlib import Path

import pytest
from omegaconf import OmegaConf

from bcq_exp.io.files import read_json
from test_launcher import QUICK, on_file, summaries, sweep

pytest.importorskip("hydra_plugins.hydra_optuna_sweeper")


def test_optuna_trains_its_batches_as_populations_and_finds_the_best_of_them(tmp_path: Path, discrete_file: Path):
    done = sweep(tmp_path, *QUICK, *on_file(discrete_file), "hydra/sweeper=optuna", "hydra.sweeper.n_trials=4",
                 "hydra.sweeper.n_jobs=2", "hydra.sweeper.direction=maximize", "hydra.sweep.dir=sweep",
                 "algorithm.unlikely_action_threshold=interval(0.0,1.0)")  # fmt: skip
    assert done.returncode == 0, done.stderr
    directory = tmp_path / "sweep"
    returns = {}
    for path in directory.rglob("summary.json"):
        config, summary = OmegaConf.load(path.parent / ".hydra" / "config.yaml"), read_json(path)
        assert summary["num_members"] == 2
        returns[config.algorithm.unlikely_action_threshold] = summary["final_return"]
    assert len(returns) == 4
    batches = read_json(directory / "sweep.json")["batches"]
    assert sorted(batches) == ["0", "2"]
    results = OmegaConf.load(directory / "optimization_results.yaml")
    assert results.best_value == max(returns.values())
    assert returns[results.best_params["algorithm.unlikely_action_threshold"]] == results.best_value


def test_a_trial_that_diverges_is_a_failed_one_and_the_search_goes_on(tmp_path: Path, discrete_file: Path):
    done = sweep(tmp_path, *QUICK, *on_file(discrete_file), "hydra/sweeper=optuna", "hydra.sweeper.n_trials=4",
                 "hydra.sweeper.n_jobs=2", "hydra.sweeper.direction=maximize", "hydra.sweep.dir=sweep",
                 "hydra/sweeper/sampler=random", "hydra.sweeper.sampler.seed=1",
                 "optimizer.lr=choice(1e-3,1e30)", "seed=range(0,9)")  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = summaries(tmp_path / "sweep")
    assert sorted(summary["status"] for summary in found) == ["failed", "failed", "finished", "finished"]
    results = OmegaConf.load(tmp_path / "sweep" / "optimization_results.yaml")
    assert results.best_value == max(s["final_return"] for s in found if s["status"] == "finished")
