"""The names, the modes and the files of runs that are logged to W&B."""

import logging
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bcq_exp.io.loggers.wandb import is_logged_in, usual_mode
from bcq_exp.training.experiment import build
from cases import checked, composed, job
from wandb_files import logged_rows, wandb_history, wandb_records

KEY = "0123456789" * 4


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


def test_it_is_the_logger_of_a_run_that_names_none() -> None:
    assert composed().logger.name == "wandb"


@pytest.mark.usefixtures("_logged_out")
def test_a_run_is_online_where_its_user_is_logged_in(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not is_logged_in()
    assert usual_mode() == "offline"
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")  # nothing listens there: it is not asked
    assert is_logged_in()
    assert usual_mode() == "online"


@pytest.mark.usefixtures("_logged_out")
def test_a_key_that_is_none_is_named_and_the_run_is_offline(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "short")
    with caplog.at_level(logging.WARNING):
        assert usual_mode() == "offline"
    assert "WANDB_API_KEY invalid" in caplog.text
    with pytest.raises(ValueError, match="WANDB_API_KEY invalid"):
        checked("logger.mode=online")


@pytest.mark.usefixtures("_logged_out")
@pytest.mark.parametrize(
    ("typed", "variable", "line"),
    [
        ("null", "sometimes", r"WANDB_MODE=sometimes is none of online, offline, disabled"),
        ("live", None, r"logger\.mode=live is none of online, offline, disabled"),
        ("online", None, r"logger\.mode=online needs a login: `wandb login`, or WANDB_API_KEY"),
        ("null", "online", r"WANDB_MODE=online needs a login"),
        ("null", "run", r"WANDB_MODE=run needs a login"),
    ],
)
def test_a_mode_that_cannot_be_is_refused_before_anything_is_done(
    monkeypatch: pytest.MonkeyPatch, typed: str, variable: str | None, line: str
) -> None:
    if variable is not None:
        monkeypatch.setenv("WANDB_MODE", variable)
    with pytest.raises(ValueError, match=line):
        checked(f"logger.mode={typed}")


def trained(run_dirs: list[Path], data: Path, *overrides: str, sweep: str | None = None) -> None:
    """Runs that train together in this process."""
    small = ("network.hidden_sizes=[8]", "batch_size=16", "num_updates=4", "eval_freq=4", "eval_episodes=1")
    fixed = ("dataset=h5", f"dataset.path={data}", "dataset.env=CartPole-v1", *small, *overrides)
    jobs = [job(run_dir, *fixed, f"seed={seed}", sweep=sweep) for seed, run_dir in enumerate(run_dirs)]
    build([replace(each, overrides=("seed=1", *overrides)) for each in jobs]).run()


def begun(run_dir: Path) -> Any:
    """What W&B holds of a run."""
    (file,) = run_dir.glob("wandb/offline-run-*/run-*.wandb")
    return next(record.run for record in wandb_records(file) if record.HasField("run"))


@pytest.mark.usefixtures("_logged_out")
@pytest.mark.parametrize(("typed", "variable"), [("disabled", None), ("null", "disabled"), ("disabled", "offline")])
def test_a_run_that_is_disabled_leaves_nothing(
    tmp_path: Path, discrete_file: Path, monkeypatch: pytest.MonkeyPatch, typed: str, variable: str | None
) -> None:
    if variable is not None:
        monkeypatch.setenv("WANDB_MODE", variable)
    trained([tmp_path / "run"], discrete_file, f"logger.mode={typed}")
    assert (tmp_path / "run" / "summary.json").exists()
    assert not list((tmp_path / "run").glob("wandb*"))


@pytest.mark.usefixtures("_logged_out")
def test_members_of_a_sweep_are_wandb_runs_of_one_group_and_stay_in_it(tmp_path: Path, discrete_file: Path) -> None:
    run_dirs = [tmp_path / "sweeps" / "3f2a" / str(seed) for seed in range(3)]
    typed = "algorithm.unlikely_action_threshold=0.1"
    trained(run_dirs, discrete_file, typed, sweep="3f2a")
    runs = [begun(run_dir) for run_dir in run_dirs]
    assert len({run.run_id for run in runs}) == 3
    assert [(run.display_name, run.run_group, run.job_type) for run in runs] == [
        (f"discrete_bcq-h5-seed{seed} unlikely_action_threshold=0.1", "3f2a", "discrete_bcq") for seed in range(3)
    ]
    for run_dir in run_dirs:
        (file,) = run_dir.glob("wandb/offline-run-*/run-*.wandb")
        assert wandb_history(file) == logged_rows(run_dir)
    trained(run_dirs[:1], discrete_file, typed)  # a member that is taken up alone
    resumed = begun(run_dirs[0])
    assert (resumed.run_id, resumed.run_group) == (runs[0].run_id, "3f2a")


@pytest.mark.usefixtures("_logged_out")
@pytest.mark.parametrize(
    ("overrides", "sweep", "group"),
    [
        ((), None, "discrete_bcq-h5"),
        (("logger.group=mine", "logger.entity=team", "logger.job_type=tuning"), None, "mine"),
        (("logger.group=mine",), "3f2a", "mine"),
    ],
)
def test_a_lone_run_is_no_sweep_and_a_given_group_wins(
    tmp_path: Path, discrete_file: Path, overrides: tuple[str, ...], sweep: str | None, group: str
) -> None:
    trained([tmp_path / "lone"], discrete_file, *overrides, sweep=sweep)
    run = begun(tmp_path / "lone")
    assert run.run_group == group
    given = "logger.entity=team" in overrides
    assert (run.entity, run.job_type) == (("team", "tuning") if given else ("", "discrete_bcq"))


@pytest.mark.usefixtures("_logged_out")
def test_a_file_that_cannot_be_written_costs_a_line(
    tmp_path: Path, discrete_file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "wandb").write_text("no folder")
    trained([tmp_path / "run"], discrete_file)
    assert (tmp_path / "run" / "summary.json").exists()
    assert "`bcq-dashboard sync" in caplog.text
