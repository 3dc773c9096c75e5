"""Loggers on real files: rows on disk, resumed files, and what an offline W&B run holds."""

import csv
import math
import os
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from bcq_exp.io.logger import CSVLogger, Loggers, WandbLogger, wandb_mode
from bcq_exp.training.experiment import build
from cases import job
from wandb_files import wandb_records, wandb_values

COLUMNS = ["critic_loss", "vae_loss", "return"]


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_metrics_of_one_update_share_a_row(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    logger = CSVLogger(path, COLUMNS)
    logger.log(500, {"critic_loss": 0.1, "vae_loss": 2})
    logger.log(1000, {"critic_loss": 123456.789012345, "vae_loss": 1e-17})
    logger.log(1000, {"return": -180.5, "vae_loss": 3})
    logger.log(1500, {"return": 0.12345678901234567, "vae_loss": 2})
    logger.log(1500, {"return": math.nan, "critic_loss": math.inf, "vae_loss": -math.inf})
    # Read before the logger is finished: each row is on disk when it is logged.
    assert path.read_text() == (
        "update,critic_loss,vae_loss,return\n500,0.1,2.0,\n1000,123456.789012345,3.0,-180.5\n1500,inf,-inf,nan\n"
    )
    logger.finish({})


def test_values_round_trip_exactly(tmp_path: Path) -> None:
    values = [0.1 + 0.2, 1 / 3, 5e-324, 1.7976931348623157e308, -0.0]
    logger = CSVLogger(tmp_path / "metrics.csv", ["loss"])
    for update, value in enumerate(values):
        logger.log(update, {"loss": value})
    read = [float(row["loss"]) for row in rows(tmp_path / "metrics.csv")]
    assert [value.hex() for value in read] == [value.hex() for value in values]


def test_an_unknown_metric_or_an_earlier_update_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    logger = CSVLogger(path, COLUMNS)
    logger.log(20, {"critic_loss": 1.0})
    before = path.read_bytes()
    with pytest.raises(ValueError, match=r"metrics\.csv: no column for \['actor_loss'\]"):
        logger.log(30, {"critic_loss": 1.0, "actor_loss": 2.0})
    with pytest.raises(ValueError, match="no column for \\['update'\\]"):
        logger.log(30, {"update": 30})
    with pytest.raises(ValueError, match="update 10 after update 20"):
        logger.log(10, {"critic_loss": 1.0})
    assert path.read_bytes() == before


def test_a_resumed_file_equals_one_that_was_never_interrupted(tmp_path: Path) -> None:
    whole, resumed = CSVLogger(tmp_path / "whole.csv", COLUMNS), CSVLogger(tmp_path / "resumed.csv", COLUMNS)
    texts = []
    for update in (0, 100, 200, 300):
        for logger in (whole, resumed):
            logger.log(update, {"critic_loss": update / 7})
        texts.append(resumed.read())
    # The checkpoint was of update 200; the process was killed in the middle of a row.
    with (tmp_path / "resumed.csv").open("a") as file:
        file.write("400,0.1")
    resumed = CSVLogger(tmp_path / "resumed.csv", COLUMNS)
    resumed.begin(texts[2])
    assert [row["update"] for row in rows(tmp_path / "resumed.csv")] == ["0", "100", "200"]
    resumed.log(200, {"return": 1.5})
    resumed.log(300, {"critic_loss": 300 / 7})
    for logger in (whole, resumed):
        logger.log(400, {"critic_loss": 0.5, "return": 2.5})
    expected = (tmp_path / "whole.csv").read_text().replace(f"{200 / 7},,\n", f"{200 / 7},,1.5\n")
    assert (tmp_path / "resumed.csv").read_text() == expected
    assert sorted(os.listdir(tmp_path)) == ["resumed.csv", "whole.csv"]


@pytest.mark.parametrize(
    ("damaged", "said"),
    [
        (b"update,critic_loss,vae_loss,return\n0,0.0,,\n", "was cut or altered"),
        (b"update,critic_loss,vae_loss,return\n0,0.5,,\n10,10.0,,\n", "was cut or altered"),
        (b"update,critic_loss,vae_loss,return\n10,10.0,,\n20,20.0,,\n", "was cut or altered"),
        (b"\xff\xfe\0", "was cut or altered"),
        (b"", "was missing"),
        (None, "was missing"),
    ],
    ids=["cut", "altered", "a row less", "no text", "empty", "none"],
)
def test_rows_that_a_checkpoint_knows_are_restored_and_it_is_said(
    tmp_path: Path, damaged: bytes | None, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "metrics.csv"
    logger = CSVLogger(path, COLUMNS)
    for update in (0, 10):
        logger.log(update, {"critic_loss": update})
    text = logger.read()
    path.unlink() if damaged is None else path.write_bytes(damaged)
    logger = CSVLogger(path, COLUMNS)
    logger.begin(text)
    assert path.read_text() == text
    assert [record.message for record in caplog.records] == [
        f"{path} {said}; its rows are restored from the checkpoint"
    ]
    assert list(logger.rows()) == [(0, {"critic_loss": 0.0}), (10, {"critic_loss": 10.0})]


def test_rows_behind_the_checkpoint_go_without_a_word(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    logger = CSVLogger(tmp_path / "metrics.csv", COLUMNS)
    logger.log(0, {"critic_loss": 1.0})
    text = logger.read()
    logger.log(10, {"critic_loss": 2.0})
    CSVLogger(tmp_path / "metrics.csv", COLUMNS).begin(text)
    assert (tmp_path / "metrics.csv").read_text() == text
    assert not caplog.records


def test_an_interrupted_restoration_keeps_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "metrics.csv"
    logger = CSVLogger(path, COLUMNS)
    for update in range(5):
        logger.log(update, {"critic_loss": update})
    before = path.read_bytes()

    def fail(descriptor: int) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="no space"):
        logger.begin(before.decode().partition("\n")[0] + "\n")
    assert path.read_bytes() == before


@pytest.mark.parametrize("found", [b"update,loss\n1,2.0\n", b"\xff\0notes", b"my own notes"])
def test_a_file_of_other_columns_is_refused_and_kept(tmp_path: Path, found: bytes) -> None:
    path = tmp_path / "metrics.csv"
    path.write_bytes(found)
    with pytest.raises(
        ValueError, match=r"metrics\.csv: its first line is not update,critic_loss,.* move the file away"
    ):
        CSVLogger(path, COLUMNS).begin()
    assert path.read_bytes() == found


def test_a_row_is_on_disk_before_a_checkpoint_knows_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced = []
    fsync = os.fsync

    def spy(descriptor: int) -> None:
        synced.append(os.pread(descriptor, 99, 0))
        fsync(descriptor)

    logger = CSVLogger(tmp_path / "metrics.csv", ["loss"])
    logger.log(1, {"loss": 0.5})
    monkeypatch.setattr(os, "fsync", spy)
    assert logger.read() == "update,loss\n1,0.5\n"
    assert synced == [b"update,loss\n1,0.5\n"]


class ListLogger:
    """Remembers calls."""

    def __init__(self, calls: list[Any]) -> None:
        self.calls = calls

    def log(self, update: int, metrics: Mapping[str, float]) -> None:
        self.calls.append((update, dict(metrics)))

    def finish(self, summary: Mapping[str, Any]) -> None:
        self.calls.append(dict(summary))


def test_loggers_reach_each_logger_in_order() -> None:
    first: list[Any] = []
    second: list[Any] = []
    loggers = Loggers(ListLogger(first), Loggers(ListLogger(second)))
    loggers.log(3, {"loss": 1.0})
    loggers.finish({"final_return": 2.0})
    assert first == second == [(3, {"loss": 1.0}), {"final_return": 2.0}]


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


def test_both_configurations_have_the_same_keys() -> None:
    group = Path(__file__).parents[2] / "conf" / "logger"
    choices: dict[str, Any] = {name: OmegaConf.load(group / f"{name}.yaml") for name in ("csv", "wandb")}
    assert {name: choice.pop("name") for name, choice in choices.items()} == {"csv": "csv", "wandb": "wandb"}
    assert choices["csv"] == choices["wandb"]
    assert set(choices["csv"]) == {"project", "group", "tags", "job_type"}


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
