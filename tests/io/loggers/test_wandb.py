"""What an offline W&B run holds, read back from its file."""

import math
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bcq_exp.io.loggers.wandb import WandbLogger, wandb_mode
from bcq_exp.training.experiment import build
from cases import job
from wandb_files import wandb_records, wandb_values


@pytest.fixture
def _logged_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    wandb = pytest.importorskip("wandb")
    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("WANDB_CONFIG_DIR", str(tmp_path / "wandb_config"))
    wandb.teardown()
    yield
    wandb.teardown()


@pytest.mark.usefixtures("_logged_out")
def test_wandb_offline_run_holds_config_history_and_summary(tmp_path: Path) -> None:
    config = {"algorithm": {"name": "bcq", "lmbda": 0.75, "hidden": [400, 300]}, "seed": 3, "long": "x" * 40_000}
    loggers = [
        WandbLogger(
            tmp_path,
            config,
            project="bcq_exp",
            group="bcq-pendulum",
            tags=["paper", "seed3"],
            job_type="train",
            name=f"run {seed}",
            run_id=None,
        )
        for seed in range(2)  # two at once: each its own run
    ]
    assert loggers[0].run_id != loggers[1].run_id
    loggers[0].log(500, {"critic_loss": 0.5})
    loggers[1].log(700, {"critic_loss": 9.0})
    loggers[0].log(1000, {"critic_loss": math.nan})
    loggers[0].log(1000, {"return": -180.5})
    for logger in loggers:
        logger.finish({"final_return": -180.5})

    (path,) = tmp_path.glob(f"wandb/offline-run-*/run-{loggers[0].run_id}.wandb")
    records = list(wandb_records(path))
    run = next(record.run for record in records if record.HasField("run"))
    assert (run.project, run.run_group, run.job_type, run.display_name) == ("bcq_exp", "bcq-pendulum", "train", "run 0")
    assert list(run.tags) == ["paper", "seed3"]
    assert {key: value for key, value in wandb_values(run.config.update).items() if key in config} == config

    history = [wandb_values(record.history.item) for record in records if record.HasField("history")]
    logged = [{key: value for key, value in row.items() if not key.startswith("_")} for row in history]
    assert logged[0] == {"update": 500, "critic_loss": 0.5}
    assert {"update": 1000, "return": -180.5}.items() <= logged[1].items()
    assert math.isnan(float(logged[1]["critic_loss"]))
    assert len(logged) == 2

    metrics = [record.metric for record in records if record.HasField("metric")]
    assert {(metric.name or metric.glob_name, metric.step_metric) for metric in metrics} >= {("*", "update")}
    summary: dict[str, Any] = {}
    for record in records:
        if record.HasField("summary"):
            summary |= wandb_values(record.summary.update)
    assert summary["final_return"] == -180.5


@pytest.mark.usefixtures("_logged_out")
def test_wandb_run_is_continued_under_its_id(tmp_path: Path) -> None:
    names: dict[str, Any] = {"project": "p", "group": None, "tags": [], "job_type": "train", "name": None}
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
    first = WandbLogger(tmp_path / "first", {}, **names, run_id=None)
    first.log(1, {"loss": 1.0})
    first.finish({})
    second = WandbLogger(tmp_path / "second", {}, **names, run_id=first.run_id)
    second.log(2, {"loss": 0.5})
    second.finish({})
    assert second.run_id == first.run_id
    (path,) = (tmp_path / "second").glob(f"wandb/offline-run-*/run-{first.run_id}.wandb")
    run = next(record.run for record in wandb_records(path) if record.HasField("run"))
    assert run.run_id == first.run_id


@pytest.mark.usefixtures("_logged_out")
def test_wandb_is_online_for_who_is_logged_in_only(monkeypatch: pytest.MonkeyPatch) -> None:
    assert wandb_mode() == "offline"
    monkeypatch.setenv("WANDB_MODE", "online")
    assert wandb_mode() is None
    monkeypatch.delenv("WANDB_MODE")

    def login(*, prompt: bool, verify: bool) -> bool:
        assert not prompt  # a training run never asks
        assert not verify
        return True

    monkeypatch.setattr("wandb.login", login)
    assert wandb_mode() == "online"


@pytest.mark.usefixtures("_logged_out")
def test_wandb_that_cannot_begin_is_a_value_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"W&B cannot begin a run: .*WANDB_MODE=offline"):
        WandbLogger(tmp_path, {}, project="p", group=None, tags=[], job_type="train", name=None, run_id="not/allowed")


def begun_runs(run_dirs: list[Path], data: Path, *overrides: str, sweep: str | None) -> list[Any]:
    """What W&B holds of runs that train together in this process, after they have ended."""
    small = ("network.hidden_sizes=[8]", "batch_size=16", "num_updates=4", "eval_freq=4", "eval_episodes=1")
    fixed = ("dataset=h5", f"dataset.path={data}", "dataset.env=CartPole-v1", "logger=wandb", *small, *overrides)
    jobs = [job(run_dir, *fixed, f"seed={seed}", sweep=sweep) for seed, run_dir in enumerate(run_dirs)]
    build([replace(each, overrides=("seed=1", *overrides)) for each in jobs]).run()
    files = [sorted(run_dir.glob("wandb/offline-run-*/run-*.wandb"))[-1] for run_dir in run_dirs]
    return [next(record.run for record in wandb_records(file) if record.HasField("run")) for file in files]


@pytest.mark.usefixtures("_logged_out")
def test_members_of_a_sweep_are_wandb_runs_of_one_group_and_stay_in_it(tmp_path: Path, discrete_file: Path) -> None:
    run_dirs = [tmp_path / "sweeps" / "3f2a" / str(seed) for seed in range(3)]
    typed = "algorithm.unlikely_action_threshold=0.1"
    runs = begun_runs(run_dirs, discrete_file, typed, sweep="3f2a")
    assert len({run.run_id for run in runs}) == 3
    assert [(run.display_name, run.run_group) for run in runs] == [
        (f"discrete_bcq-h5-seed{seed} {typed}", "3f2a") for seed in range(3)
    ]
    (resumed,) = begun_runs(run_dirs[:1], discrete_file, typed, sweep=None)  # a member that is taken up alone
    assert (resumed.run_id, resumed.run_group) == (runs[0].run_id, "3f2a")


@pytest.mark.usefixtures("_logged_out")
@pytest.mark.parametrize(
    ("overrides", "sweep", "group"),
    [
        ((), None, "discrete_bcq-h5"),
        (("logger.group=mine",), None, "mine"),
        (("logger.group=mine",), "3f2a", "mine"),
    ],
)
def test_a_lone_run_is_no_sweep_and_a_given_group_wins(
    tmp_path: Path, discrete_file: Path, overrides: tuple[str, ...], sweep: str | None, group: str
) -> None:
    (run,) = begun_runs([tmp_path / "lone"], discrete_file, *overrides, sweep=sweep)
    assert run.run_group == group
