"""A directory that holds another run, other data or other people's files is refused by name, and left as it was."""

import os
import subprocess
import sys
from pathlib import Path

import h5py
import pytest
from omegaconf import OmegaConf

from bcq_exp.io.files import read_json, write_json
from test_train import QUICK, final_weights, on_file, train
from trained import train_run

SWEEP = ("-m", "seed=0,1", "hydra.sweep.dir=sweep")


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def refused(cwd: Path, *arguments: str) -> str:
    done = train(cwd, *arguments)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    return done.stderr[done.stderr.index("error: ") :]


def test_one_directory_and_two_configurations(tmp_path: Path, discrete_file: Path):
    typed = [*QUICK, *on_file(discrete_file, "CartPole-v1"), "hydra.run.dir=fixed"]
    assert train(tmp_path, *typed).returncode == 0
    before = contents(tmp_path)
    assert refused(tmp_path, *typed, "seed=1", "optimizer.lr=0.1") == (
        f"error: {tmp_path}/fixed holds another run than what is asked for:\n  optimizer.lr: 0.001 before, 0.1 now\n"
        "  seed: 0 before, 1 now\nchoose another directory to begin anew: hydra.run.dir=DIR\n"
    )
    assert contents(tmp_path) == before


@pytest.mark.parametrize("again", ["run", "resume", "sweep", "executor"])
def test_data_that_have_changed_since(tmp_path: Path, discrete_file: Path, again: str):
    data = tmp_path / "data.h5"
    data.write_bytes(discrete_file.read_bytes())
    typed = [*QUICK, *on_file(Path("data.h5"), "CartPole-v1")]
    if again == "executor":
        pytest.importorskip("submitit")
        typed += ["hydra.launcher.executor=submitit_local"]
    typed = [*SWEEP, *typed] if again in ("sweep", "executor") else [*typed, "hydra.run.dir=run"]
    assert train(tmp_path, *typed).returncode == 0
    with h5py.File(data, "r+") as file:
        file["rew"][3] *= 100
    before = contents(tmp_path)
    said = refused(tmp_path, *(["resume=run"] if again == "resume" else typed))
    assert "\n  the data has changed: sha256 " in said
    assert said.count("\n  ") == 1
    assert contents(tmp_path) == before


def test_other_code_goes_on_where_that_is_allowed_and_both_digests_are_kept(tmp_path: Path, discrete_file: Path):
    typed = [*QUICK, *on_file(discrete_file, "CartPole-v1")]
    script = (
        "from bcq_exp import train; from bcq_exp.training import identity, manifest; source = lambda: 'a' * 64\n"
        "identity.source_digest = manifest.source_digest = source; train.main()"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", script, *typed, "hydra.run.dir=run"]
    subprocess.run(command, cwd=tmp_path, env=environment, check=True, capture_output=True)
    assert "the code has changed: aaaaaaaaaaaa before" in refused(tmp_path, "resume=run")
    assert train(tmp_path, "resume=run", "allow_code_change=true").returncode == 0
    manifest = read_json(tmp_path / "run" / "manifest.json")
    assert [each["source_sha256"][:3] for each in manifest["earlier"]] == ["aaa"]
    assert manifest["source_sha256"][:3] != "aaa"
    assert train(tmp_path, "resume=run").returncode == 0  # by the code that went on with it


@pytest.fixture
def earlier_run(tmp_path: Path, discrete_file: Path) -> Path:
    """A run as an earlier version left it: by other code, its configuration without the keys that came since."""
    run_dir = train_run(tmp_path / "earlier", *on_file(discrete_file, "CartPole-v1"))
    manifest = read_json(run_dir / "manifest.json")
    write_json(run_dir / "manifest.json", manifest | {"source_sha256": "a" * 64})
    cfg = OmegaConf.load(run_dir / ".hydra" / "config.yaml")
    for key in ("allow_code_change", "eval_max_steps", "updates_per_launch"):
        del cfg[key]
    del cfg.dataset["max_episode_steps"]
    OmegaConf.save(cfg, run_dir / ".hydra" / "config.yaml")
    return run_dir


def command(cwd: Path, program: str, *arguments: object) -> str:
    typed = [sys.executable, "-m", program, *map(str, arguments)]
    done = subprocess.run(typed, cwd=cwd, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_run_of_an_earlier_version_is_reported_and_evaluated(earlier_run: Path, tmp_path: Path):
    final_return = read_json(earlier_run / "summary.json")["final_return"]
    assert f" {final_return:.1f} " in command(tmp_path, "bcq_exp.report", earlier_run)
    assert f" {final_return:.1f} " in command(tmp_path, "bcq_exp.evaluate", f"run={earlier_run}", "episodes=2")
    quick = ("num_updates=20", "batch_size=16", "network.hidden_sizes=[8]", "num_threads=1")
    command(tmp_path, "bcq_exp.evaluate", f"run={earlier_run}", "ope=fqe", *quick)
    assert list(read_json(earlier_run / "ope.json")["estimates"]) == ["fqe"]


def test_a_run_of_an_earlier_version_does_not_go_on(earlier_run: Path, tmp_path: Path):
    before = contents(earlier_run)
    said = refused(tmp_path, f"resume={earlier_run}").splitlines()
    assert said[0] == f"error: {earlier_run} holds another run than what is asked for:"
    assert said[1].startswith("  the code has changed: aaaaaaaaaaaa before, ")
    assert said[2] == "choose another directory to begin anew: hydra.run.dir=DIR"
    assert contents(earlier_run) == before


@pytest.mark.parametrize("is_valid", [True, False])
def test_a_users_own_files_where_a_run_would_write(tmp_path: Path, discrete_file: Path, is_valid: bool):
    mine = tmp_path / "mine"
    (mine / ".hydra").mkdir(parents=True)
    (mine / "train.log").write_text("notes")
    (mine / ".hydra" / "own.yaml").write_text("a: 1")
    before = contents(mine)
    path = discrete_file if is_valid else Path("missing.h5")
    said = refused(mine, *QUICK, *on_file(path, "CartPole-v1"), "hydra.run.dir=.")
    assert ("has train.log, .hydra but no manifest.json" if is_valid else "missing.h5: no such file") in said
    assert contents(mine) == before
    refused(mine, "-m", "seed=0,1", *QUICK, *on_file(Path("missing.h5"), "CartPole-v1"), "hydra.sweep.dir=.")
    assert contents(mine) == before
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_a_directory_that_was_there_before_a_failed_start_stays(tmp_path: Path):
    (tmp_path / "empty").mkdir()
    for directory in ("hydra.run.dir=empty", "hydra.run.dir=other/new"):
        refused(tmp_path, *QUICK, *on_file(Path("missing.h5"), "CartPole-v1"), directory)
    assert [path.name for path in tmp_path.iterdir()] == ["empty"]


def test_a_run_goes_on_from_anywhere_with_its_relative_dataset(tmp_path: Path, discrete_file: Path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "a.h5").write_bytes(discrete_file.read_bytes())
    typed = [*QUICK, *on_file(Path("data/a.h5"), "CartPole-v1"), "hydra.run.dir=run", "hydra.job.chdir=true"]
    assert train(tmp_path, *typed).returncode == 0
    (tmp_path / "elsewhere").mkdir()
    done = train(tmp_path / "elsewhere", "resume=../run", "num_threads=1")
    assert done.returncode == 0, done.stderr
    evaluate = [sys.executable, "-m", "bcq_exp.evaluate", "run=../run", "episodes=1"]
    assert subprocess.run(evaluate, cwd=tmp_path / "elsewhere", check=False, timeout=300).returncode == 0
    assert not list((tmp_path / "elsewhere").iterdir())


LONGER = ("num_updates=240", "optimizer.lr_decay=null")


@pytest.mark.parametrize("num_updates", [120, 130], ids=["an event of both", "an event of neither"])
def test_a_run_that_goes_on_for_longer_is_the_unbroken_one(tmp_path: Path, discrete_file: Path, num_updates: int):
    typed = [*QUICK, *on_file(discrete_file, "CartPole-v1"), "log_freq=20", "eval_freq=60", "checkpoint_freq=50"]
    assert train(tmp_path, *typed, *LONGER, "hydra.run.dir=whole").returncode == 0
    assert train(tmp_path, *typed, f"num_updates={num_updates}", "hydra.run.dir=longer").returncode == 0
    done = train(tmp_path, "resume=longer", *LONGER)
    assert done.returncode == 0, done.stderr
    whole, longer = final_weights(tmp_path / "whole"), final_weights(tmp_path / "longer")
    assert all(whole[name].equal(longer[name]) for name in whole)
    assert whole.keys() == longer.keys()
    assert (tmp_path / "whole" / "metrics.csv").read_text() == (tmp_path / "longer" / "metrics.csv").read_text()
    summaries = [read_json(tmp_path / run / "summary.json") for run in ("whole", "longer")]
    assert [summary["num_updates"] for summary in summaries] == [240, 240]
    assert summaries[0]["final_return"] == summaries[1]["final_return"]
    assert "num_updates: 240 before, 130 now" in refused(tmp_path, "resume=longer", "num_updates=130")


def test_a_run_that_cannot_go_on_for_longer_says_why(tmp_path: Path, discrete_file: Path):
    typed = [*QUICK, *on_file(discrete_file, "CartPole-v1")]
    assert train(tmp_path, *typed, "optimizer.lr_decay=linear", "hydra.run.dir=decayed").returncode == 0
    said = refused(tmp_path, "resume=decayed", "num_updates=90")
    assert "num_updates: 60 before, 90 now; optimizer.lr_decay=linear would have been slower" in said
    odd = ["num_updates=50", "num_checkpoints=1", "hydra.run.dir=odd"]
    assert train(tmp_path, *typed, *odd).returncode == 0
    assert "no checkpoint before update 50" in refused(tmp_path, "resume=odd", "num_updates=90")
