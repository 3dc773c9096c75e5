"""The entry point of collection, as its user types it."""

import json
import sys
from pathlib import Path

import pytest

from bcq_exp.behaviours.agents import Behaviour
from bcq_exp.collect import main

TINY = ["behaviour.agents={cartpole: null}", "behaviour.max_steps=200", "behaviour.eval_freq=150", "report_episodes=3"]


def collect(monkeypatch: pytest.MonkeyPatch, *words: str) -> None:
    monkeypatch.setattr(sys, "argv", ["collect", *words])
    main()


def test_trained_agent_is_written_to_the_run_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("stable_baselines3")
    collect(monkeypatch, "behaviour=cartpole", "seed=3", *TINY, f"hydra.run.dir={tmp_path}")
    stated = json.loads((tmp_path / "cartpole.json").read_text())
    assert stated["command"].startswith("python -m bcq_exp.collect behaviour=cartpole seed=3 ")
    assert stated["seed"] == 3
    assert Behaviour.load("cartpole", tmp_path).sha256 != Behaviour.load("cartpole").sha256


def test_dataset_of_an_agent_that_was_trained_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("stable_baselines3")
    monkeypatch.setenv("BCQ_EXP_CACHE", str(tmp_path / "cache"))
    collect(monkeypatch, "behaviour=cartpole", *TINY, f"hydra.run.dir={tmp_path}/mine")
    collect(
        monkeypatch, "dataset=cartpole-noisy", f"dataset.behaviour={tmp_path}/mine/cartpole",
        "dataset.num_transitions=500", f"hydra.run.dir={tmp_path}/made",
    )  # fmt: skip
    (beside,) = (tmp_path / "cache").glob("cartpole-noisy-*.json")
    account = json.loads(beside.read_text())
    assert account["behaviour_sha256"] == Behaviour.load(f"{tmp_path}/mine/cartpole").sha256
    shown = capsys.readouterr().out
    assert f"{account['return_mean']:.6g}" in shown
    assert "cartpole-noisy-" in shown


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "give either behaviour=NAME, to train agents, or dataset=NAME"),
        (["behaviour=cartpole", "dataset=cartpole-noisy"], "give either behaviour=NAME"),
        (["behaviour=cartpole", "behaviour.algorithm=PPO"], r"behaviour\.algorithm=PPO is none of DQN"),
        (["dataset=cartpole-noisy", "dataset.behaviour=acrobot"], "dataset: behaviour='acrobot' is unknown"),
        (["dataset=cartpole-noisy", "+dataset.sead=1"], r"dataset\.sead is not a key .*did you mean dataset\.seed"),
    ],
)
def test_an_impossible_request_ends_in_one_line(
    words: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(SystemExit, match=f"error: .*{message}"):
        collect(monkeypatch, *words, f"hydra.run.dir={tmp_path}")


def test_the_simulated_log_is_inspected_by_its_own_columns(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    collect(monkeypatch, "treatment", "log.csv", "--patients", "40")
    collect(monkeypatch, "inspect", "log.csv", "--columns", "treatment")
    printed = capsys.readouterr().out
    assert "F1 V1: " in printed
    assert "warning: rewards only at ends" in printed
    collect(monkeypatch, "convert", "log.csv", "log.h5", "--columns", "treatment")
    collect(monkeypatch, "inspect", "log.h5")
    assert "F1 V1: " in capsys.readouterr().out
    with pytest.raises(SystemExit, match=r"log\.csv: a text file with columns patient, .* --columns with inspect"):
        collect(monkeypatch, "inspect", "log.csv")


def test_commands_for_files_are_no_overrides(
    discrete_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    collect(monkeypatch, "convert", str(discrete_file), "out.h5")
    collect(monkeypatch, "inspect", "out.h5")
    assert "20: 10 terminated, 10 truncated" in capsys.readouterr().out
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.h5", "outputs"]
