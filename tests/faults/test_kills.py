"""A run, a sweep or a collection killed at any moment resumes to the same bits as an undisturbed one."""

from pathlib import Path

import pytest

from experiments.faults.kills import kill
from experiments.faults.scenarios import Scenario, population, training

# `python -m experiments.faults kills` has more of them, and longer ones.
TINY = ("logger=csv", "dataset=cartpole-noisy", "dataset.num_transitions=2000", "num_threads=1",
        "network.hidden_sizes=[16]", "batch_size=16", "num_updates=150", "log_freq=10",
        "checkpoint_freq=25", "eval_freq=35", "eval_episodes=5", "algorithm.target_update_freq=40",
        "algorithm.estimation_step=3")  # fmt: skip
SCENARIOS = {
    "run": training("a run", *TINY, "dataset.normalize_obs=true", "optimizer.lr_decay=cosine"),
    "sweep": population("a population of 3", *TINY),
}


@pytest.mark.parametrize("name", SCENARIOS)
def test_a_command_killed_twice_has_the_results_of_an_undisturbed_one(tmp_path: Path, name: str) -> None:
    scenario: Scenario = SCENARIOS[name]
    found = kill(name, scenario, tmp_path, num_kills=2, seed=0, on_kill=lambda kills: None)
    assert found.faults == []
    assert (found.kills, found.lost, found.different, found.littered) == (2, 0, 0, 0)
