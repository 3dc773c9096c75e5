"""A secret stays where it is: no file of a run directory has read it from the environment or shows it."""

import sys
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from bcq_exp.analysis.trained_runs import trained_runs
from bcq_exp.training import experiment
from bcq_exp.training.config import check
from bcq_exp.training.experiment import Job
from bcq_exp.training.saved import saved_config
from bcq_exp.training.sections import plain
from cases import composed
from trained import SMALL, on_file, train_run

SECRET = "sk-b7d1c4e09a"


def test_a_saved_configuration_reads_nothing_from_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, discrete_file: Path
):
    monkeypatch.setenv("CANARY", SECRET)
    run = train_run(tmp_path / "run", *on_file(discrete_file))
    path = run / ".hydra" / "config.yaml"
    whole = path.read_text()
    for key in (
        "dataset.name",
        "dataset.env",
        "dataset.path",
        "logger.project",
        "device",
        "seed",
        "network.activation",
    ):
        for text in ("${oc.env:CANARY}", "x${oc.env:CANARY}y", "${oc.decode:${oc.env:CANARY}}"):
            cfg = OmegaConf.create(whole)
            OmegaConf.update(cfg, key, text)
            path.write_text(OmegaConf.to_yaml(cfg))
            for read in (lambda: saved_config(run), lambda: trained_runs(run, "cpu")):
                with pytest.raises(ValueError, match=rf"{key} holds '.*', which is not resolved") as raised:
                    read()
                assert SECRET not in str(raised.value)


def test_a_typed_value_may_come_from_the_environment(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("CANARY", "own-project")
    assert check(composed("logger=wandb", "logger.project=${oc.env:CANARY}")).logger.project == "own-project"


def test_secrets_that_are_typed_are_in_no_file_of_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, discrete_file: Path
):
    words = [f"hydra.launcher.options.api_key={SECRET}", f"hydra.sweeper.storage=mysql://me:{SECRET}@host/x"]
    monkeypatch.setattr(sys, "argv", ["train.py", *words])
    monkeypatch.setenv("WANDB_MODE", "offline")
    cfg = composed(*SMALL, *on_file(discrete_file), "logger=wandb")
    run_dir = tmp_path / "run"
    run_dir.mkdir()
    resolved = {**plain(cfg), "storage": f"mysql://me:{SECRET}@host", "wandb_token": SECRET}
    experiment.build([Job(check(cfg), run_dir, resolved, tuple(words))]).run()
    files = [path for path in tmp_path.rglob("*") if path.is_file() and not path.is_symlink()]
    assert any(path.suffix == ".wandb" for path in files)
    assert [path for path in files if SECRET.encode() in path.read_bytes()] == []
