"""What W&B's server has of a run that is shown while it trains, and what a network that is down costs the run."""

import argparse
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from bcq_exp.dashboards import sync
from bcq_exp.io.files import read_json
from bcq_exp.io.loggers import form, wandb_live
from bcq_exp.io.loggers.wandb_places import places
from bcq_exp.training.experiment import build
from cases import job
from wandb_files import logged_rows, wandb_history
from wandb_server import Fault, WandbServer

SMALL = ("network.hidden_sizes=[8]", "batch_size=16", "log_freq=2", "eval_freq=4", "eval_episodes=1",
         "checkpoint_freq=4", "compile=never")  # fmt: skip


def train(run_dir: Path, data: Path, num_updates: int, *typed: str) -> None:
    fixed = ("dataset=h5", f"dataset.path={data}", "dataset.env=CartPole-v1", f"num_updates={num_updates}", *SMALL)
    build([job(run_dir, *fixed, *typed, sweep="3f2a")]).run()


@contextmanager
def impatient() -> Iterator[None]:
    """Wait seconds only for a server that does not answer; for one that does, a busy machine has all its time."""
    wandb_live.say_once.cache_clear()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(wandb_live, "BEGINNING", 1.0)
        patch.setattr(wandb_live, "FINISHING", 1.0)
        patch.setattr(form, "PATIENCE", 3.0)
        yield


def test_the_server_has_each_row_once_when_a_run_is_resumed(
    tmp_path: Path, discrete_file: Path, wandb_server: WandbServer
) -> None:
    run_dir = tmp_path / "run"
    train(run_dir, discrete_file, 8)
    kept = read_json(run_dir / "wandb.json")
    run = wandb_server.runs[kept["run_id"]]
    assert run.metrics == logged_rows(run_dir)
    assert (run.state, run.lines_sent) == ("finished", 4)
    assert run.config["algorithm"]["name"] == "discrete_bcq"
    assert run.config["data"]["sha256"] == read_json(run_dir / "manifest.json")["dataset"]["sha256"]
    summary = read_json(run_dir / "summary.json")
    assert run.summary["final_return"] == summary["final_return"]
    assert run.summary["behaviour_return"] == summary["behaviour_return"]
    assert run.summary["perf/updates_per_second"] == summary["updates_per_second"]
    returns = [row["eval/return"] for row in logged_rows(run_dir) if "eval/return" in row]
    assert run.summary["last_10_return"] == sum(returns) / 2
    assert not list(run_dir.glob("wandb/offline-run-*"))
    assert places([run_dir], run_dir) == [f"W&B:              {kept['address']}"]
    assert places([run_dir, run_dir], tmp_path) == [
        f"W&B:              {wandb_server.address}/stand-in/bcq_exp/groups/3f2a"
    ]

    train(run_dir, discrete_file, 16)
    assert list(wandb_server.runs) == [kept["run_id"]]
    assert run.metrics == logged_rows(run_dir)
    assert (len(run.metrics), run.lines_sent) == (8, 8)
    assert run.attributes["groupName"] == "3f2a"
    assert wandb_server.unknown == []


def test_a_stopped_run_is_failed_until_it_is_resumed(
    tmp_path: Path, discrete_file: Path, wandb_server: WandbServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_dir = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr("bcq_exp.training.trainer.Trainer._finish", lambda _: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            train(run_dir, discrete_file, 8)
    (run,) = wandb_server.runs.values()
    assert (run.state, len(run.metrics)) == ("failed", 4)
    train(run_dir, discrete_file, 8)
    assert (run.state, run.metrics, run.lines_sent) == ("finished", logged_rows(run_dir), 4)


@pytest.mark.parametrize(
    ("fault", "after", "typed"),
    [("refuse", 0, ()), ("hang", 0, ()), ("error", 4, ()), ("hang", 4, ()), ("hang", 5, ("logger.artifacts=true",))],
)
def test_a_network_that_is_down_costs_a_run_a_line(
    tmp_path: Path,
    discrete_file: Path,
    wandb_server: WandbServer,
    caplog: pytest.LogCaptureFixture,
    fault: Fault,
    after: int,
    typed: tuple[str, ...],
) -> None:
    run_dir = tmp_path / "run"
    wandb_server.fail(fault, after)
    start = time.monotonic()
    with impatient(), caplog.at_level(logging.WARNING, "bcq_exp.io"):
        train(run_dir, discrete_file, 8, *typed)
    assert time.monotonic() - start < 60
    (line,) = [line for line in caplog.messages if "offline files" in line]
    assert "which `bcq-dashboard sync` uploads" in line
    assert read_json(run_dir / "summary.json")["status"] == "finished"
    (file,) = run_dir.glob("wandb/offline-run-*/*.wandb")
    assert wandb_history(file) == logged_rows(run_dir)
    wandb_server.heal()
    pytest.importorskip("wandb").teardown()  # as another process, in which no run has this id
    train(run_dir, discrete_file, 12, *typed)  # the server has what it had, and the rest now
    (run,) = wandb_server.runs.values()
    assert run.metrics == logged_rows(run_dir)
    assert not list(run_dir.glob("wandb/offline-run-*"))


WITH = "logger.artifacts=true"


def upload_all(directory: Path) -> int:
    """The exit code of `bcq-dashboard sync`."""
    return sync.run(argparse.Namespace(directories=[directory], jobs=1, artifacts=False))


def assert_artifact(server: WandbServer, run_dir: Path, update: int) -> None:
    """The newest artifact of a run has the checkpoint of an update, and each of its files is that of the directory."""
    artifact = server.store.committed(read_json(run_dir / "wandb.json")["run_id"])[-1]
    files = server.store.files(artifact)
    assert f"checkpoints/update_{update:08d}/tensors.safetensors" in files
    assert artifact.metadata["num_updates"] == update
    assert files == {name: (run_dir / name).read_bytes() for name in files}


def test_a_policy_is_there_when_its_run_ends_and_another_version_when_it_is_longer(
    tmp_path: Path, discrete_file: Path, wandb_server: WandbServer
) -> None:
    run_dir = tmp_path / "run"
    train(run_dir, discrete_file, 8, WITH)
    (run,) = wandb_server.runs.values()
    assert (run.state, run.metrics) == ("finished", logged_rows(run_dir))
    assert_artifact(wandb_server, run_dir, 8)
    train(run_dir, discrete_file, 16, WITH)
    assert_artifact(wandb_server, run_dir, 16)
    assert [each.version for each in wandb_server.store.committed(run.name)] == [0, 1]
    assert (run.state, run.metrics, run.lines_sent) == ("finished", logged_rows(run_dir), 8)
    assert upload_all(run_dir) == 0
    assert wandb_server.requests.count("CreateArtifact") == 2
    assert wandb_server.unknown == []


def test_a_run_that_is_stopped_has_no_policy_there(
    tmp_path: Path, discrete_file: Path, wandb_server: WandbServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bcq_exp.training.trainer.Trainer._finish", lambda _: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "run", discrete_file, 8, WITH)
    assert [run.state for run in wandb_server.runs.values()] == ["failed"]
    assert wandb_server.store.artifacts == []


def test_a_policy_that_is_refused_costs_a_line_alone(
    tmp_path: Path, discrete_file: Path, wandb_server: WandbServer, caplog: pytest.LogCaptureFixture
) -> None:
    run_dir = tmp_path / "run"
    wandb_server.store.is_full = True
    with caplog.at_level(logging.WARNING, "bcq_exp.io"):
        train(run_dir, discrete_file, 8, WITH)
    (line,) = [line for line in caplog.messages if line.startswith("W&B")]
    assert line == f"W&B: no artifact of {run_dir}: storage quota exceeded; `bcq-dashboard sync {run_dir}` uploads it"
    (run,) = wandb_server.runs.values()
    assert (run.state, run.metrics) == ("finished", logged_rows(run_dir))
    assert "artifact" not in read_json(run_dir / "wandb.json")
    assert not list(run_dir.glob("wandb/offline-run-*"))


def test_a_policy_that_takes_too_long_is_left_for_later_and_no_row_is_lost(
    tmp_path: Path, discrete_file: Path, wandb_server: WandbServer, caplog: pytest.LogCaptureFixture
) -> None:
    run_dir = tmp_path / "run"
    wandb_server.store.is_taking.clear()
    start = time.monotonic()
    with impatient(), caplog.at_level(logging.WARNING, "bcq_exp.io"):
        train(run_dir, discrete_file, 8, WITH)
    assert time.monotonic() - start < 60
    (line,) = [line for line in caplog.messages if "offline files" in line]
    assert "which `bcq-dashboard sync` uploads" in line
    (file,) = run_dir.glob("wandb/offline-run-*/*.wandb")
    assert wandb_history(file) == logged_rows(run_dir)
    wandb_server.store.is_taking.set()
    pytest.importorskip("wandb").teardown()
    assert upload_all(run_dir) == 0
    (run,) = wandb_server.runs.values()
    assert (run.state, run.metrics) == ("finished", logged_rows(run_dir))
    assert_artifact(wandb_server, run_dir, 8)
