"""The entry point as its user runs it: real processes."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from bcq_exp.io.files import read_json
from trained import on_file, train_run

QUICK = ["num_updates=30", "batch_size=16", "network.hidden_sizes=[8]", "num_threads=1"]


def evaluate(cwd: Path, *arguments: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "bcq_exp.evaluate", *arguments]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=300, env=None)


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory, discrete_file: Path) -> Path:
    path = tmp_path_factory.mktemp("sweep")
    for seed in range(3):
        train_run(path / f"run{seed}", f"seed={seed}", *on_file(discrete_file))
    return path


def test_a_sweep_is_judged_and_each_run_keeps_its_estimates(sweep: Path):
    before = {path.name for path in sweep.iterdir()}
    done = evaluate(sweep, "run=.", "ope=[fqe,wis]", *QUICK)
    assert done.returncode == 0, done.stderr
    assert {path.name for path in sweep.iterdir()} - before == {"ope.png"}
    kept = [read_json(sweep / f"run{seed}" / "ope.json") for seed in range(3)]
    assert [list(each["estimates"]) for each in kept] == [["fqe", "wis", "ess"]] * 3
    assert [each["online_return"] for each in kept] == [
        read_json(sweep / f"run{seed}" / "summary.json")["final_return"] for seed in range(3)
    ]
    assert (kept[0]["settings"]["gamma"], kept[0]["num_members"], kept[0]["checkpoint"]) == (0.99, 3, "update_00000020")
    for each in kept:
        assert f"{each['estimates']['fqe']:.3f}" in done.stdout
    assert re.search(r"fqe +3 +-?\d\.\d\d \[-?\d\.\d\d, -?\d\.\d\d\]", done.stdout)
    assert "fitted Q evaluation on h5" in done.stderr


def test_a_run_is_chosen_and_the_file_says_why(sweep: Path):
    (sweep / "killed").mkdir()
    (sweep / "killed" / "manifest.json").write_text("{}")
    done = evaluate(sweep, "run=.", "ope=[wis,fqe]", "select=true", "num_resamples=100", *QUICK)
    shutil.rmtree(sweep / "killed")
    assert done.returncode == 0, done.stderr
    kept = read_json(sweep / "selection.json")
    assert kept["decided_by"] == "fqe"
    assert "below min_ess=30" in kept["estimators"]["wis"]  # the recording has 20 episodes
    assert kept["left_out"] == ["killed has not ended, or its summary is damaged"]
    (setting,) = kept["settings"]
    assert setting["seeds"] == [0, 1, 2]
    lower = {run["run"]: run["estimates"]["fqe"]["low"] for run in setting["runs"]}
    assert kept["chosen"]["run"] == max(lower, key=lambda name: lower[name])
    assert f"chosen: {kept['chosen']['setting']}, its run {kept['chosen']['run']}" in done.stdout


def test_without_an_estimator_episodes_are_played(sweep: Path):
    pytest.importorskip("pygame")
    done = evaluate(sweep, "run=run0", "episodes=3", "video=true")
    assert done.returncode == 0, done.stderr
    assert (sweep / "run0" / "evaluation_update_00000020.gif").read_bytes().startswith(b"GIF89a")
    (sweep / "run0" / "evaluation_update_00000020.gif").unlink()
    assert "returns over 3 episodes" in done.stdout
    assert re.search(r"discrete_bcq seed=0 +\d+\.\d ± \d+\.\d +\d+\.\d +- ", done.stdout)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [(["run=nowhere"], "error: run=nowhere: there is no such directory\n"),
     (["run=.", "select=true"], "error: select=true chooses by estimates; give ope=fqe, or a list of estimators\n"),
     (["run=.", "ope=fqe", "video=true"],
      "error: video=true shows an episode that is played, and with ope none is played; leave out one of them\n"),
     (["run=.", "ope=nonsense"], "error: ope=nonsense is none of fqe, wis, pdwis, dr\n")],
)  # fmt: skip
def test_an_error_is_one_line(tmp_path: Path, arguments: list[str], said: str):
    done = evaluate(tmp_path, *arguments)
    assert (done.returncode, done.stderr) == (1, said)
    assert list(tmp_path.iterdir()) == []
