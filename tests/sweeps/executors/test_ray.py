"""Groups as tasks of Ray."""

import os
import re
from pathlib import Path

import pytest

from bcq_exp.sweeps.launch import Launch
from sweeps.killed_group import kill_and_go_on
from sweeps.sweep_jobs import threads
from test_launcher import QUICK, on_file, summaries, sweep


def test_an_option_that_ray_does_not_take_is_named():
    pytest.importorskip("ray")
    with pytest.raises(ValueError, match=r"executor=ray: ray.init does not take adress; it takes address, "):
        Launch(executor="ray", max_members=None, num_processes=None, options={"adress": "auto"})


@pytest.mark.executors
def test_ray_trains_each_group_in_a_process_of_its_own(tmp_path: Path, discrete_file: Path):
    pytest.importorskip("ray")
    os.symlink(discrete_file, tmp_path / "data.h5")
    done = sweep(tmp_path, *QUICK, *on_file(Path("data.h5")), "algorithm=bc_discrete,dqn", "seed=0,1",
                 "hydra.launcher.executor=ray", "hydra.launcher.num_processes=1", "num_threads=1",
                 "hydra.sweep.dir=sweep")  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = summaries(tmp_path / "sweep")
    assert (
        sorted((each["algorithm"], each["num_members"]) for each in found)
        == [("bc_discrete", 2)] * 2 + [("dqn", 2)] * 2
    )
    assert threads(tmp_path / "sweep") == {1}
    logs = [path.read_text() for path in (tmp_path / "sweep" / "groups").glob("*.log")]
    assert len({pid for text in logs for pid in re.findall(r"process (\d+):", text)}) == 2


@pytest.mark.executors
def test_a_group_whose_worker_is_killed_goes_on_by_the_same_command(
    tmp_path: Path, discrete_file: Path, whole_sweep: Path
):
    pytest.importorskip("ray")
    launcher = ("hydra.launcher.executor=ray", "hydra.launcher.num_processes=1")
    kill_and_go_on(tmp_path, discrete_file, whole_sweep, *launcher)
