from pathlib import Path

import pytest
from omegaconf import OmegaConf

from bcq_exp.training.resuming import resumed
from cases import composed


def begun(run_dir: Path, *typed: str) -> Path:
    (run_dir / ".hydra").mkdir(parents=True)
    OmegaConf.save(composed(*typed), run_dir / ".hydra" / "config.yaml")
    OmegaConf.save(list(typed), run_dir / ".hydra" / "overrides.yaml")
    return run_dir


def test_a_key_of_the_logger_is_as_it_is_typed(tmp_path: Path):
    run_dir = begun(tmp_path / "run", "logger.project=mine", "seed=3")
    typed = [f"resume={run_dir}", "logger.group=late", "logger.mode=offline"]
    cfg, overrides = resumed(run_dir, composed(*typed), typed)
    assert (cfg.logger.project, cfg.logger.group, cfg.logger.mode) == ("mine", "late", "offline")
    assert overrides == ["logger.project=mine", "seed=3"]  # the logger changes no result


def test_another_logger_takes_the_first_ones_place(tmp_path: Path):
    run_dir = begun(tmp_path / "run", "logger=wandb", "logger.project=mine")
    cfg, _ = resumed(run_dir, composed("logger=csv"), ["logger=csv"])
    assert cfg.logger == {"name": "csv"}


def test_a_key_that_the_runs_logger_lacks_is_named(tmp_path: Path):
    run_dir = begun(tmp_path / "run", "logger=csv")
    with pytest.raises(ValueError, match=r"has no key logger\.group: drop logger\.group=late"):
        resumed(run_dir, composed("logger.group=late"), ["logger.group=late"])


def test_a_free_key_that_came_since_the_run_began_is_as_it_is_typed_or_by_default(tmp_path: Path):
    run_dir = begun(tmp_path / "run", "seed=3")
    saved = OmegaConf.load(run_dir / ".hydra" / "config.yaml")
    del saved["updates_per_launch"], saved["num_threads"]
    OmegaConf.save(saved, run_dir / ".hydra" / "config.yaml")
    typed = [f"resume={run_dir}", "num_threads=3"]
    cfg, overrides = resumed(run_dir, composed(*typed), typed)
    assert (cfg.updates_per_launch, cfg.num_threads, cfg.seed) == ("auto", 3, 3)
    assert overrides == ["seed=3"]
