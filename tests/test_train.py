"""The entry point as its user runs it: real processes."""

import csv
import os
import shutil
import signal
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path

import h5py
import pytest
from safetensors.torch import load_file

from bcq_exp.io.files import read_json
from bcq_exp.train import with_their_group
from cases import REPLAYS

QUICK = [
    "logger=csv",
    "num_updates=60",
    "eval_freq=30",
    "eval_episodes=2",
    "log_freq=20",
    "checkpoint_freq=30",
    "batch_size=16",
    "network.hidden_sizes=[16]",
    "network.vae_hidden_sizes=[16]",
]


def train(cwd: Path, *arguments: str, **kwargs) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "bcq_exp.train", *arguments]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=300, **kwargs)


def on_file(path: Path, env: str) -> list[str]:
    return ["dataset=h5", f"dataset.path={path}", f"dataset.env={env}"]


def final_weights(run_dir: Path) -> dict:
    return load_file(sorted((run_dir / "checkpoints").iterdir())[-1] / "tensors.safetensors")


def test_a_run_leaves_what_the_contract_names(tmp_path: Path, discrete_file: Path):
    done = train(tmp_path, *QUICK, *on_file(discrete_file, "CartPole-v1"), "hydra.run.dir=run", "logger=wandb")
    assert done.returncode == 0, done.stderr
    run = tmp_path / "run"
    summary = read_json(run / "summary.json")
    assert summary["algorithm"] == "discrete_bcq"
    assert summary["dataset"] == "h5"
    assert (summary["seed"], summary["num_updates"]) == (0, 60)
    assert summary["final_return"] >= 1
    assert summary["final_normalized_score"] is None
    assert summary["updates_per_second"] > 0
    manifest = read_json(run / "manifest.json")
    assert manifest["dataset"]["num_transitions"] == 400
    assert len(manifest["dataset"]["sha256"]) == 64
    assert manifest["packages"]["torch"] == version("torch")
    with (run / "metrics.csv").open(newline="") as file:
        reader = csv.DictReader(file)
        assert reader.fieldnames[0] == "update"
        rows = list(reader)
    assert [int(row["update"]) for row in rows] == [20, 30, 40, 60]
    diagnosed = [name for name in rows[0] if name.startswith("diagnostics/")]
    assert {"diagnostics/return_logged", "diagnostics/q_logged", "diagnostics/kept_actions"} < set(diagnosed)
    assert [row["update"] for row in rows if all(row[name] for name in diagnosed)] == ["30", "60"]
    assert (run / ".hydra" / "config.yaml").exists()
    assert len(list((run / "wandb").glob("offline-run-*/*.wandb"))) == 1
    assert sorted(path.name for path in (run / "checkpoints").iterdir()) == ["update_00000030", "update_00000060"]
    assert set(os.listdir(tmp_path)) == {"run"}


@pytest.mark.parametrize("algorithm", ["bcq", "bc", "td3_bc"])
def test_continuous_algorithms_run_to_the_end(tmp_path: Path, continuous_file: Path, algorithm: str):
    overrides = [*QUICK, *on_file(continuous_file, "Pendulum-v1"), f"algorithm={algorithm}", "hydra.run.dir=run"]
    done = train(tmp_path, *overrides)
    assert done.returncode == 0, done.stderr
    assert -2000 < read_json(tmp_path / "run" / "summary.json")["final_return"] < 0


@pytest.mark.parametrize(
    ("name", "algorithm", "env", "behaviour"),
    [("cartpole", "discrete_bcq", "CartPole-v1", 63.126), ("pendulum", "bcq", "Pendulum-v1", -180.481)],
)
def test_data_that_others_collected(tmp_path: Path, name: str, algorithm: str, env: str, behaviour: float):
    path = REPLAYS / f"{name}_replay.h5"
    if not path.exists():
        pytest.skip(f"{path.name} is not here")
    done = train(tmp_path, *QUICK, *on_file(path, env), f"algorithm={algorithm}", "hydra.run.dir=run")
    assert done.returncode == 0, done.stderr
    assert read_json(tmp_path / "run" / "summary.json")["behaviour_return"] == pytest.approx(behaviour, abs=1e-3)


def bad_file(path: Path, source: Path, fault: str) -> None:
    shutil.copy(source, path)
    if fault == "truncated":
        path.write_bytes(source.read_bytes()[: source.stat().st_size // 2])
    elif fault == "nan":
        with h5py.File(path, "r+") as file:
            file["rew"][7] = float("nan")


@pytest.mark.parametrize(
    ("overrides", "fault", "said"),
    [
        (["algorithm.lmda=0.5"], "", ["algorithm.lmda"]),
        (["algorithm=bqc"], "", ["bqc", "discrete_bcq"]),
        (["algorithm=bcq"], "", ["continuous actions", "discrete_bcq"]),
        (["batch_size=500"], "", ["500", "400"]),
        (["dataset.env=CartPol-v1"], "", ["CartPol-v1", "CartPole-v1"]),
        (["dataset.path=nowhere.h5"], "", ["nowhere.h5"]),
        (["resume=nowhere"], "", ["resume"]),
        ([], "truncated", ["bad.h5"]),
        ([], "nan", ["bad.h5", "rew row 7 is nan"]),
    ],
)
def test_bad_input_is_one_short_message_and_leaves_nothing(
    tmp_path: Path, discrete_file: Path, overrides: list[str], fault: str, said: list[str]
):
    path = tmp_path / "bad.h5"
    bad_file(path, discrete_file, fault)
    done = train(tmp_path, *QUICK, *on_file(path, "CartPole-v1"), *overrides)
    assert done.returncode not in (0, -signal.SIGSEGV)
    for words in said:
        assert words in done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stderr) < 1500
    assert set(os.listdir(tmp_path)) == {"bad.h5"}


def test_a_killed_run_resumes_to_the_same_weights(tmp_path: Path, continuous_file: Path):
    overrides = [
        *QUICK,
        *on_file(continuous_file, "Pendulum-v1"),
        "algorithm=bcq",
        "optimizer.lr_decay=linear",
        "num_updates=400",
        "checkpoint_freq=20",
        "eval_freq=200",
    ]
    assert train(tmp_path, *overrides, "hydra.run.dir=whole").returncode == 0
    command = [sys.executable, "-m", "bcq_exp.train", *overrides, "hydra.run.dir=killed"]
    process = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.DEVNULL)
    checkpoints = tmp_path / "killed" / "checkpoints"
    deadline = time.monotonic() + 120
    while not list(checkpoints.glob("update_*")) and time.monotonic() < deadline:
        time.sleep(0.01)
    process.kill()
    process.wait()
    assert not (tmp_path / "killed" / "summary.json").exists()

    resumed = train(tmp_path, "resume=killed")
    assert resumed.returncode == 0, resumed.stderr
    whole, killed = final_weights(tmp_path / "whole"), final_weights(tmp_path / "killed")
    assert whole.keys() == killed.keys()
    assert all(whole[name].equal(killed[name]) for name in whole)
    assert (tmp_path / "whole" / "metrics.csv").read_text() == (tmp_path / "killed" / "metrics.csv").read_text()

    typed = [read_json(tmp_path / run / "summary.json")["overrides"] for run in ("whole", "killed")]
    assert typed[0] == typed[1] == overrides  # so that a report takes both for the same kind of run

    refused = train(tmp_path, "resume=killed", "seed=3")
    assert refused.returncode == 1
    assert "seed: 0 before, 3 now" in refused.stderr
    (tmp_path / "killed" / ".hydra" / "config.yaml").write_text("algorithm: {_target_: os.system}\n")
    refused = train(tmp_path, "resume=killed")
    assert refused.returncode != 0
    assert "Traceback" not in refused.stderr


def test_keys_of_a_swept_group_are_swept_with_it_and_all_else_stays():
    typed = ["-m", "algorithm=bcq,awac", "algorithm.lmbda=0.5", "algorithm.gamma=0.9,0.99", "+algorithm.note=1",
             "network=mlp", "network.hidden_sizes=[8,8]", "seed=range(3)", "hydra.sweep.dir=out"]  # fmt: skip
    assert with_their_group(typed) == [*typed[:2], "algorithm.lmbda=choice(0.5)", *typed[3:]]
    assert with_their_group(["network=mlp,nature_cnn", "network.hidden_sizes=[8,8]"])[1] == (
        "network.hidden_sizes=choice([8,8])"
    )
    assert with_their_group(["experiment=a,b", "logger=wandb", "logger.group=g", "seed=1", "hydra.sweep.dir=out"]) == [
        "experiment=a,b", "logger=wandb", "logger.group=choice(g)", "seed=1", "hydra.sweep.dir=out",
    ]  # fmt: skip
    assert with_their_group(["algorithm=bcq,awac", "algorithm.lmbda=[", "x"]) == [
        "algorithm=bcq,awac", "algorithm.lmbda=[", "x",
    ]  # fmt: skip
