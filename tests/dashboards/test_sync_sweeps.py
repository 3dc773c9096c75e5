"""Runs that are killed and resumed and synced in between, offline and live: W&B has each update of each run once."""

import json
import os
import signal
from pathlib import Path

import pytest

from bcq_exp.io.checkpoint import common_checkpoints, update_of
from processes import begin, give, on_file, wait_for
from synced import assert_all_there, run_id
from wandb_server import WandbServer

SMALL = ("num_threads=1", "compile=never", "num_updates=600", "eval_freq=100", "eval_episodes=1", "checkpoint_freq=50",
         "log_freq=10", "batch_size=16", "network.hidden_sizes=[8]", "logger=wandb",
         "logger.project=baselines")  # fmt: skip
THRESHOLDS = ("algorithm=discrete_bcq", "algorithm.unlikely_action_threshold=0.1,0.3,0.6")


def last_update(sweep: Path, num_runs: int) -> int:
    """The last update from which all runs of a sweep can be resumed."""
    run_dirs = [path.parent for path in sweep.glob("*/manifest.json")]
    checkpoints = common_checkpoints(run_dirs) if len(run_dirs) == num_runs else []
    return update_of(checkpoints[0][0]) if checkpoints else 0


@pytest.mark.slow
def test_two_sweeps_are_there_once(
    tmp_path: Path, discrete_file: Path, wandb_server: WandbServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    fixed = (*SMALL, *on_file(discrete_file), "seed=0,1,2")
    monkeypatch.setenv("WANDB_MODE", "offline")  # of the runs; `sync` uploads all the same
    code, said = give(tmp_path, "train", "-m", *fixed, "algorithm=dqn,bc_discrete", "hydra.sweep.dir=baselines")
    assert code == 0, said

    typed = ("train", "-m", *fixed, *THRESHOLDS, "hydra.sweep.dir=thresholds")
    reached = 0
    for _ in range(2):
        process = begin(tmp_path, *typed)
        wait_for(lambda further=reached + 100: last_update(tmp_path / "thresholds", 9) >= further, process)
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        reached = last_update(tmp_path / "thresholds", 9)
        code, said = give(tmp_path, "dashboard", "sync", "baselines", "thresholds", "--jobs", "2")
        assert code == 0, said
    assert reached < 600
    code, said = give(tmp_path, *typed)
    assert code == 0, said
    assert "from update_" in said
    for _ in range(2):
        code, said = give(tmp_path, "dashboard", "sync", ".", "--jobs", "2")
        assert code == 0, said

    runs = sorted(path.parent for path in tmp_path.glob("*/*/metrics.csv"))
    assert len(runs) == 15
    assert_all_there(wandb_server, runs)
    for run_dir in runs:
        run = wandb_server.runs[run_id(run_dir)]
        assert [row["update"] for row in run.metrics] == list(range(10, 601, 10))
        summary = json.loads((run_dir / "summary.json").read_text())
        assert run.summary["final_return"] == summary["final_return"]
        assert (run.attributes["groupName"], run.attributes["jobType"]) == (run_dir.parent.name, summary["algorithm"])
        assert (run.project, run.state, run.config["seed"]) == ("baselines", "finished", summary["seed"])
        assert run.lines_sent == 60


@pytest.mark.slow
def test_a_live_run_that_is_killed_is_completed_and_goes_on(
    tmp_path: Path, discrete_file: Path, wandb_server: WandbServer
) -> None:
    typed = (*SMALL, *on_file(discrete_file), "algorithm=dqn", "hydra.run.dir=run", "num_updates=6000")
    run_dir, reached = tmp_path / "run", 0
    for _ in range(2):
        process = begin(tmp_path, "train", *typed)
        wait_for(
            lambda more=reached + 500: (run_dir / "manifest.json").exists() and last_update(tmp_path, 1) >= more
            and len(wandb_server.runs) == 1 and len(wandb_server.runs[run_id(run_dir)].history) > more // 20, process,
        )  # fmt: skip
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        code, said = give(tmp_path, "dashboard", "sync", "run")
        assert code == 0, said
        assert_all_there(wandb_server, [run_dir])
        reached = last_update(tmp_path, 1)
    code, said = give(tmp_path, "train", *typed)
    assert code == 0, said
    code, said = give(tmp_path, "dashboard", "sync", "run")
    assert code == 0, said
    assert_all_there(wandb_server, [run_dir])
    run = wandb_server.runs[run_id(run_dir)]
    assert [row["update"] for row in run.metrics] == list(range(10, 6001, 10))
    assert run.state == "finished"
