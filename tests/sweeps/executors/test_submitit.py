"""Groups as jobs of submitit: processes on this machine, and an array of a SLURM that is played."""

import os
import re
from pathlib import Path

import pytest

from bcq_exp.sweeps.executors.submitit import MAX_REQUEUES
from sweeps.killed_group import kill_and_go_on
from sweeps.sweep_jobs import threads
from test_launcher import QUICK, on_file, summaries, sweep


@pytest.mark.executors
def test_a_group_that_is_killed_here_goes_on_by_the_same_command(
    tmp_path: Path, discrete_file: Path, whole_sweep: Path
):
    pytest.importorskip("submitit")
    launcher = ("hydra.launcher.executor=submitit_local", "hydra.launcher.num_processes=1")
    kill_and_go_on(tmp_path, discrete_file, whole_sweep, *launcher)


SBATCH = """#!/bin/bash
if [ -n "$REFUSAL" ]; then echo "$REFUSAL" >&2; cp "$1" "$PLAYED/script1.sh"; exit 1; fi
number=1
while [ -e "$PLAYED/script$number.sh" ]; do number=$((number + 1)); done
cp "$1" "$PLAYED/script$number.sh"
job=$((70 + number))
last=$(sed -n 's/^#SBATCH --array=0-\\([0-9]*\\).*/\\1/p' "$1")
for index in $(if [ -n "$last" ]; then seq 0 "$last"; else echo none; fi); do
    (
        export SLURM_JOB_ID=$job
        state="$PLAYED/state_$job"
        if [ "$index" != none ]; then
            export SLURM_JOB_ID=$((100 * job + index)) SLURM_ARRAY_JOB_ID=$job SLURM_ARRAY_TASK_ID=$index
            state="${state}_$index"
        fi
        echo RUNNING >"$state"
        if bash "$1"; then echo COMPLETED >"$state"; else echo FAILED >"$state"; fi
    ) >/dev/null 2>&1 &
done
echo "Submitted batch job $job"
"""
SRUN = """#!/bin/bash
while [[ $1 == --* ]]; do
    case $1 in --output) out=$2; shift ;; --error) err=$2; shift ;; esac
    shift
done
fill() { sed "s/%A/$SLURM_ARRAY_JOB_ID/; s/%a/$SLURM_ARRAY_TASK_ID/; s/%j/$SLURM_JOB_ID/; s/%t/0/" <<<"$1"; }
exec "$@" >"$(fill "$out")" 2>"$(fill "$err")"
"""
SACCT = """#!/bin/bash
echo "JobID|State|NodeList"
for file in "$PLAYED"/state_*; do echo "${file##*/state_}|$(cat "$file")|here"; done
"""


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Commands that take an array as SLURM's do, and run its tasks here; their folder, where they keep its scripts."""
    folder = tmp_path / "slurm"
    folder.mkdir()
    for name, text in {"sbatch": SBATCH, "srun": SRUN, "sacct": SACCT}.items():
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("PLAYED", str(folder))
    return folder


@pytest.mark.executors
def test_slurm_gets_one_array_with_a_task_a_group(tmp_path: Path, slurm: Path, discrete_file: Path):
    DelayedSubmission = pytest.importorskip("submitit.core.utils").DelayedSubmission
    done = sweep(tmp_path, *QUICK, *on_file(discrete_file), "algorithm=bc_discrete,dqn", "seed=0,1",
                 "hydra.launcher.executor=submitit_slurm", "hydra.sweep.dir=sweep", "num_threads=3",
                 "hydra.launcher.options={timeout_min: 90, slurm_partition: fast, cpus_per_task: 2}")  # fmt: skip
    assert done.returncode == 0, done.stderr
    lines = (slurm / "script1.sh").read_text().splitlines()
    asked = {"--array=0-1%2", "--partition=fast", "--time=90", "--cpus-per-task=2", "--job-name=bcq_exp"}
    assert {f"#SBATCH {flag}" for flag in asked} <= set(lines)
    assert not any("gpu" in line for line in lines)
    assert "export OMP_NUM_THREADS=2" in lines
    submitted = list((tmp_path / "sweep" / "submitit").glob("*_submitted.pkl"))
    assert [DelayedSubmission.load(path)._timeout_countdown for path in submitted] == [MAX_REQUEUES] * 2
    found = summaries(tmp_path / "sweep")
    assert (
        sorted((each["algorithm"], each["num_members"]) for each in found)
        == [("bc_discrete", 2)] * 2 + [("dqn", 2)] * 2
    )
    assert threads(tmp_path / "sweep") == {2}


@pytest.mark.executors
def test_slurm_gets_an_array_of_only_the_groups_that_have_not_ended(
    tmp_path: Path, slurm: Path, discrete_file: Path, whole_sweep: Path
):
    pytest.importorskip("submitit")
    launcher = ("hydra.launcher.executor=submitit_slurm", "hydra.launcher.options={timeout_min: 90}")
    kill_and_go_on(tmp_path, discrete_file, whole_sweep, *launcher)
    scripts = [path.read_text() for path in sorted(slurm.glob("script*.sh"))]
    assert [re.findall(r"--array=(\S+)", script) for script in scripts] == [["0-1%2"], []]  # an array of one is a job


@pytest.mark.executors
def test_slurm_is_asked_for_gpus_that_this_machine_lacks_and_its_refusal_is_told(
    tmp_path: Path, slurm: Path, discrete_file: Path, monkeypatch: pytest.MonkeyPatch
):
    pytest.importorskip("submitit")
    monkeypatch.setenv("REFUSAL", "sbatch: error: invalid partition specified: fast")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    done = sweep(tmp_path, *QUICK, *on_file(discrete_file), "algorithm=bc_discrete,dqn", "device=cuda",
                 "precision=tf32", "hydra.launcher.executor=submitit_slurm", "hydra.sweep.dir=sweep",
                 "hydra.launcher.options={timeout_min: 90, slurm_partition: fast}")  # fmt: skip
    assert done.returncode == 1
    assert "invalid partition specified: fast" in done.stderr
    assert "Traceback" not in done.stderr
    assert "#SBATCH --gpus-per-node=1" in (slurm / "script1.sh").read_text().splitlines()


@pytest.mark.executors
def test_what_an_executor_lacks_is_said_before_anything_starts(tmp_path: Path, discrete_file: Path):
    pytest.importorskip("submitit")
    done = sweep(tmp_path, *QUICK, *on_file(discrete_file), "seed=0,1", "hydra.launcher.executor=submitit_local",
                 "hydra.launcher.options={minutes: 5}", "hydra.sweep.dir=sweep")  # fmt: skip
    assert done.returncode == 1
    assert "hydra.launcher.executor=submitit_local: Parameter 'minutes'" in done.stderr
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []
