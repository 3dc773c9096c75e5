import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf

from bcq_exp.analysis.trained_runs import load_policy, trained_runs
from bcq_exp.io.checkpoint import load_checkpoint
from bcq_exp.io.files import read_json, write_json
from bcq_exp.training.datasets import load_parts
from trained import on_file, train_run


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory, discrete_file: Path) -> Path:
    path = tmp_path_factory.mktemp("sweep")
    train_run(path / "a", "algorithm=dqn", "dataset.normalize_obs=true", *on_file(discrete_file))
    train_run(path / "b", "seed=3", *on_file(discrete_file))
    return path


def test_runs_are_told_apart_and_know_what_they_scored(sweep: Path):
    dqn, bcq = sorted(trained_runs(sweep, "cpu"), key=lambda run: run.directory)
    assert (dqn.label, bcq.label) == ("dqn seed=0", "discrete_bcq seed=3")
    assert dqn.online_return == read_json(dqn.directory / "summary.json")["final_return"]
    assert dqn.checkpoint == sweep / "a" / "checkpoints" / "update_00000020"
    assert (dqn.cfg.algorithm.name, dqn.cfg.dataset.normalize_obs) == ("dqn", True)
    (alone,) = trained_runs(sweep / "a", "cpu")
    assert alone.directory == sweep / "a"


def test_a_policy_is_the_one_of_the_checkpoint_its_statistics_too(sweep: Path):
    for run in trained_runs(sweep, "cpu"):
        saved = load_checkpoint(run.checkpoint)["learner"]["policy"]["module"]
        policy = load_policy(run)
        assert policy.num_updates == 20
        assert not policy.training
        found = policy.state_dict()
        assert found.keys() == saved.keys()
        assert all(torch.equal(found[name], saved[name]) for name in saved)
    dqn = next(run for run in trained_runs(sweep, "cpu") if run.cfg.algorithm.name == "dqn")
    obs = np.asarray(load_parts(dqn.cfg.dataset).learned.obs)
    assert load_policy(dqn).obs_mean.numpy() == pytest.approx(obs.mean(0), abs=1e-6)


def changed(sweep: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(sweep, tmp_path / "sweep"))


def test_a_run_is_read_where_its_loggers_package_is_missing(
    sweep: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("bcq_exp.io.loggers.tensorboard.find_spec", lambda name: None)
    path = changed(sweep, tmp_path) / "a" / ".hydra" / "config.yaml"
    path.write_text(path.read_text().replace("name: csv", "name: tensorboard"))
    (run,) = trained_runs(path.parents[1], "cpu")
    assert run.cfg.logger.name == "csv"  # nothing is logged


def test_a_failed_run_is_left_out(sweep: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture):
    path = changed(sweep, tmp_path)
    for name in ("a", "b"):
        summary = read_json(path / name / "summary.json")
        write_json(path / name / "summary.json", summary | {"status": "failed", "final_return": None})
        if name == "a":
            assert [run.directory.name for run in trained_runs(path, "cpu")] == ["b"]
            assert f"{path / 'a'} has failed; the run is left out" in caplog.text
    with pytest.raises(ValueError, match="all runs there have failed"):
        trained_runs(path, "cpu")


def test_what_is_no_run_is_named(sweep: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture):
    with pytest.raises(ValueError, match=r"run=.*nowhere: there is no such directory"):
        trained_runs(tmp_path / "nowhere", "cpu")
    with pytest.raises(ValueError, match="no run has ended there"):
        trained_runs(tmp_path, "cpu")
    path = changed(sweep, tmp_path)
    shutil.rmtree(path / "b" / "checkpoints")
    assert [run.directory.name for run in trained_runs(path, "cpu")] == ["a"]
    assert f"{path / 'b'} has no checkpoint" in caplog.text
    with pytest.raises(ValueError, match="all runs there have failed or are damaged"):
        trained_runs(path / "b", "cpu")


def test_a_configuration_from_disk_is_checked_for_this_machine(sweep: Path, tmp_path: Path):
    path = changed(sweep, tmp_path)
    saved = path / "a" / ".hydra" / "config.yaml"
    cfg = OmegaConf.load(saved)
    cfg.device, cfg.precision, cfg.updates_per_launch = "cuda:99", "tf32", 16  # where and how it was trained
    OmegaConf.save(cfg, saved)
    assert all(run.cfg.schedule.device == "cpu" for run in trained_runs(path, "cpu"))
    cfg.algorithm.gamma = 2
    OmegaConf.save(cfg, saved)
    with pytest.raises(ValueError, match=r"(?s)sweep/a: its configuration cannot be used.*gamma=2"):
        trained_runs(path, "cpu")


def test_a_checkpoint_of_another_configuration_is_refused(sweep: Path, tmp_path: Path):
    path = changed(sweep, tmp_path)
    saved = path / "b" / ".hydra" / "config.yaml"
    cfg = OmegaConf.load(saved)
    cfg.network.hidden_sizes = [9]
    OmegaConf.save(cfg, saved)
    (run,) = trained_runs(path / "b", "cpu")
    with pytest.raises(ValueError, match="does not fit the configuration of its run"):
        load_policy(run)


def test_a_run_from_before_a_key_of_its_algorithm_is_the_form_that_it_had(continuous_file: Path, tmp_path: Path):
    """Runs of MCQ from before `excess` and `pseudo_target_min` rectified, and bounded no pseudo target."""
    train_run(tmp_path, "algorithm=mcq", "network.vae_hidden_sizes=[8]", *on_file(continuous_file, "Pendulum-v1"))
    path = tmp_path / ".hydra" / "config.yaml"
    cfg = OmegaConf.load(path)
    for key in ("excess", "pseudo_target_min"):
        del cfg.algorithm[key]
    OmegaConf.save(cfg, path)
    (run,) = trained_runs(tmp_path, "cpu")
    assert (run.cfg.algorithm.excess, run.cfg.algorithm.pseudo_target_min) == ("rectified", None)
