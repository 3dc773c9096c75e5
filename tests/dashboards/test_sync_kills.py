"""`bcq-dashboard sync` of 200 runs that is killed 20 times: nothing is there twice, and nothing is missing."""

import os
import random
import signal
from pathlib import Path

import psutil
import pytest

from processes import begin, end
from synced import assert_all_there, begin_sync, clone
from trained import on_file, train_run
from wandb_server import WandbServer

NUM_RUNS, NUM_KILLS = 200, 20


def kill(process, *, with_all: bool) -> None:
    """Kill a command; with all processes that it started, or alone, so that these go on without it."""
    below = psutil.Process(process.pid).children(recursive=True) if with_all else []
    os.kill(process.pid, signal.SIGKILL)
    for each in below:
        if each.is_running():
            each.kill()
    process.communicate()


@pytest.mark.slow
def test_200_runs_are_synced_once_through_20_kills(
    tmp_path: Path, discrete_file: Path, wandb_server: WandbServer
) -> None:
    trained = train_run(tmp_path / "trained", *on_file(discrete_file), "algorithm=dqn", "logger=csv")
    run_dirs = [clone(trained, tmp_path / "runs" / f"{seed:03}", seed, 40 + seed) for seed in range(NUM_RUNS)]
    moments = random.Random(0)
    for number in range(NUM_KILLS):
        process = begin_sync(tmp_path, wandb_server, num_jobs=3, seconds=moments.uniform(0, 4))
        assert process.poll() is None, process.communicate()
        kill(process, with_all=number % 2 == 0)
    assert len(wandb_server.runs) < NUM_RUNS  # the kills came before the end
    code, said = end(begin(tmp_path, "dashboard", "sync", "runs", "--jobs", "3"))
    assert code == 0, said
    assert_all_there(wandb_server, run_dirs)
    assert sum(run.lines_sent for run in wandb_server.runs.values()) == sum(40 + seed for seed in range(NUM_RUNS))
