"""Groups as jobs of submitit: processes on this machine, and an array of a SLURM that is played."""

import csv
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bcq_exp.sweeps.group import Group
from sweeps.sweep_jobs import threads
from test_launcher import QUICK, on_file, summaries, sweep, weights


@pytest.mark.executors
def test_submitit_trains_here_what_this_process_would_and_a_killed_group_goes_on(tmp_path: Path, discrete_file: Path):
    pytest.importorskip("submitit")
    os.symlink(discrete_file, tmp_path / "data.h5")  # found from where the command was typed
    typed = [*QUICK, *on_file(Path("data.h5")), "algorithm=bc_discrete", "num_updates=40,600", "seed=0,1",
             "checkpoint_freq=20", "eval_freq=200"]  # fmt: skip
    here = sweep(tmp_path, *typed, "num_threads=1", "hydra.sweep.dir=here")
    assert here.returncode == 0, here.stderr
    local = ["hydra.launcher.executor=submitit_local", "hydra.launcher.num_processes=2", "hydra.sweep.dir=local"]
    command = [*typed, *local, "num_threads=1"]
    killed = kill_the_longer_group(tmp_path, command)
    assert killed.returncode == 1, killed.stderr
    assert "error: 1 of 2 groups died; the same command goes on\ngroup 2: see " in killed.stderr
    assert "Traceback" not in killed.stderr
    found = re.search(r"group 2: see (\S+/groups/\S+\.log) and (\S+)", killed.stderr)
    assert found
    assert all(Path(path).exists() for path in found.groups())
    with (tmp_path / "local" / "sweep.csv").open(newline="") as file:
        assert [row["num_updates"] for row in csv.DictReader(file)] == ["40", "40"]

    again = sweep(tmp_path, *command)
    assert again.returncode == 0, again.stderr
    assert again.stderr.count("has ended before") == 1
    assert "from update_" in Path(found[1]).read_text()
    assert threads(tmp_path / "local") == {1}
    runs = sorted(path.parent.name for path in (tmp_path / "here").rglob("summary.json"))
    assert len(runs) == 4
    for run in runs:
        ours, theirs = (weights(tmp_path / where / run) for where in ("here", "local"))
        assert all(ours[name].equal(theirs[name]) for name in ours)


def kill_the_longer_group(cwd: Path, command: list[str]) -> subprocess.CompletedProcess:
    """Run a sweep, and kill the process of the group that has a second checkpoint first."""
    process = subprocess.Popen(
        [sys.executable, "-m", "bcq_exp.train", "-m", *command], cwd=cwd, stderr=subprocess.PIPE, text=True,
        stdout=subprocess.DEVNULL,
    )  # fmt: skip
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        time.sleep(0.01)
        for manifest in (cwd / "local" / "groups").glob("*.json"):
            group = Group.read(manifest)
            if all(len(list(run_dir.glob("checkpoints/update_*[1-9]*"))) > 1 for run_dir in group.run_dirs):
                last = max(path.name for path in group.run_dirs[1].glob("checkpoints/update_*"))
                if last > "update_00000040":
                    (pid,) = re.findall(r"process (\d+):", group.log_path.read_text())
                    os.kill(int(pid), signal.SIGKILL)
                    _, said = process.communicate(timeout=120)
                    return subprocess.CompletedProcess(command, process.returncode, "", said)
    process.kill()
    raise AssertionError("no group has come to its third checkpoint")


SBATCH = """#!/bin/bash
cp "$1" "$PLAYED/script.sh"
if [ -n "$REFUSAL" ]; then echo "$REFUSAL" >&2; exit 1; fi
last=$(sed -n 's/^#SBATCH --array=0-\\([0-9]*\\).*/\\1/p' "$1")
for index in $(seq 0 "$last"); do
    SLURM_JOB_ID=$((70 + index)) SLURM_ARRAY_JOB_ID=70 SLURM_ARRAY_TASK_ID=$index bash "$1" >/dev/null 2>&1 &
done
echo "Submitted batch job 70"
"""
SRUN = """#!/bin/bash
while [[ $1 == --* ]]; do
    case $1 in --output) out=$2; shift ;; --error) err=$2; shift ;; esac
    shift
done
fill() { sed "s/%A/$SLURM_ARRAY_JOB_ID/; s/%a/$SLURM_ARRAY_TASK_ID/; s/%t/0/" <<<"$1"; }
exec "$@" >"$(fill "$out")" 2>"$(fill "$err")"
"""
SACCT = """#!/bin/bash
echo "JobID|State|NodeList"
"""


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Commands that take an array as SLURM's do, and run its tasks here; the script that was handed in."""
    folder = tmp_path / "slurm"
    folder.mkdir()
    for name, text in {"sbatch": SBATCH, "srun": SRUN, "sacct": SACCT}.items():
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("PLAYED", str(folder))
    return folder / "script.sh"


@pytest.mark.executors
def test_slurm_gets_one_array_with_a_task_a_group(tmp_path: Path, slurm: Path, discrete_file: Path):
    pytest.importorskip("submitit")
    done = sweep(tmp_path, *QUICK, *on_file(discrete_file), "algorithm=bc_discrete,dqn", "seed=0,1",
                 "hydra.launcher.executor=submitit_slurm", "hydra.sweep.dir=sweep", "num_threads=3",
                 "hydra.launcher.options={timeout_min: 90, slurm_partition: fast, cpus_per_task: 2}")  # fmt: skip
    assert done.returncode == 0, done.stderr
    lines = slurm.read_text().splitlines()
    asked = {"--array=0-1%2", "--partition=fast", "--time=90", "--cpus-per-task=2", "--job-name=bcq_exp"}
    assert {f"#SBATCH {flag}" for flag in asked} <= set(lines)
    assert not any("gpu" in line for line in lines)
    assert "export OMP_NUM_THREADS=2" in lines
    found = summaries(tmp_path / "sweep")
    assert (
        sorted((each["algorithm"], each["num_members"]) for each in found)
        == [("bc_discrete", 2)] * 2 + [("dqn", 2)] * 2
    )
    assert threads(tmp_path / "sweep") == {2}


@pytest.mark.executors
def test_slurm_is_asked_for_gpus_that_this_machine_lacks_and_its_refusal_is_told(
    tmp_path: Path, slurm: Path, discrete_file: Path, monkeypatch: pytest.MonkeyPatch
):
    pytest.importorskip("submitit")
    monkeypatch.setenv("REFUSAL", "sbatch: error: invalid partition specified: fast")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    done = sweep(tmp_path, *QUICK, *on_file(discrete_file), "algorithm=bc_discrete,dqn", "device=cuda",
                 "hydra.launcher.executor=submitit_slurm", "hydra.sweep.dir=sweep",
                 "hydra.launcher.options={timeout_min: 90, slurm_partition: fast}")  # fmt: skip
    assert done.returncode == 1
    assert "invalid partition specified: fast" in done.stderr
    assert "Traceback" not in done.stderr
    assert "#SBATCH --gpus-per-node=1" in slurm.read_text().splitlines()


@pytest.mark.executors
def test_what_an_executor_lacks_is_said_before_anything_starts(tmp_path: Path, discrete_file: Path):
    pytest.importorskip("submitit")
    done = sweep(tmp_path, *QUICK, *on_file(discrete_file), "seed=0,1", "hydra.launcher.executor=submitit_local",
                 "hydra.launcher.options={minutes: 5}", "hydra.sweep.dir=sweep")  # fmt: skip
    assert done.returncode == 1
    assert "hydra.launcher.executor=submitit_local: Parameter 'minutes'" in done.stderr
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []
