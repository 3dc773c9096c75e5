"""A sweep of two groups, the first of which is killed at work, for the executors' tests."""

import csv
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

from bcq_exp.sweeps.group import Group
from sweeps.sweep_jobs import threads
from test_launcher import QUICK, on_file, summaries, sweep, weights

# The dataset is found from where the command is typed. The second group needs no time.
TYPED = [*QUICK, *on_file(Path("data.h5")), "algorithm=bc_discrete", "num_updates=600,40", "seed=0,1",
         "checkpoint_freq=20", "eval_freq=200", "num_threads=1", "hydra.sweep.dir=sweep"]  # fmt: skip


def train_undisturbed(folder: Path, data: Path) -> Path:
    """The directory of the sweep that nothing has happened to."""
    os.symlink(data, folder / "data.h5")
    done = sweep(folder, *TYPED)
    assert done.returncode == 0, done.stderr
    return folder / "sweep"


def kill_and_go_on(folder: Path, data: Path, whole: Path, *launcher: str) -> None:
    """Kill the first group: the second is trained, the death is told, and the same command leads to the same weights.

    Args:
        folder: to work in.
        data: the dataset.
        whole: as `train_undisturbed` returns it.
        launcher: words that choose the executor.
    """
    os.symlink(data, folder / "data.h5")
    killed = killed_at_work(folder, *launcher)
    assert killed.returncode == 1, killed.stderr
    assert "error: 1 of 2 groups died; the same command goes on\ngroup 1: see " in killed.stderr
    assert "Traceback" not in killed.stderr
    (log,) = re.findall(r"group 1: see (\S+/groups/\S+\.log) and \S+", killed.stderr)
    assert Path(log).read_text().count("process ") == 1
    assert [each["num_updates"] for each in summaries(folder / "sweep")] == [40, 40]
    with (folder / "sweep" / "sweep.csv").open(newline="") as file:
        assert [row["num_updates"] for row in csv.DictReader(file)] == ["40", "40"]

    again = sweep(folder, *TYPED, *launcher)
    assert again.returncode == 0, again.stderr
    assert again.stderr.count("group 2 of 2 has ended before") == 1
    assert re.search(r"process \d+: bc_discrete on h5, 2 members, from update_", Path(log).read_text())
    logs = [path.read_text() for path in (folder / "sweep" / "groups").glob("*.log")]
    assert sorted(text.count("process ") for text in logs) == [1, 2]  # what had ended was not started again
    assert threads(folder / "sweep") == {1}
    runs = sorted(path.parent.name for path in whole.rglob("summary.json"))
    assert len(runs) == 4
    for run in runs:
        ours, theirs = weights(whole / run), weights(folder / "sweep" / run)
        assert all(ours[name].equal(theirs[name]) for name in ours)
        assert (whole / run / "metrics.csv").read_text() == (folder / "sweep" / run / "metrics.csv").read_text()


def killed_at_work(folder: Path, *launcher: str) -> subprocess.CompletedProcess:
    """Run the sweep, and kill the process of the group that has a third checkpoint first."""
    command = [sys.executable, "-m", "bcq_exp.train", "-m", *TYPED, *launcher]
    process = subprocess.Popen(command, cwd=folder, stderr=subprocess.PIPE, text=True, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.01)
        for manifest in (folder / "sweep" / "groups").glob("*.json"):
            group = Group.read(manifest)
            newest = [max(run.glob("checkpoints/update_*"), default=run).name for run in group.run_dirs]
            if all("update_00000040" < name < "update_00000600" for name in newest):
                (pid,) = re.findall(r"process (\d+):", group.log_path.read_text())
                os.kill(int(pid), signal.SIGKILL)
                _, said = process.communicate(timeout=120)
                return subprocess.CompletedProcess(command, process.returncode, "", said)
    process.kill()
    raise AssertionError(f"no group has come to its third checkpoint: {process.communicate()[1]}")
