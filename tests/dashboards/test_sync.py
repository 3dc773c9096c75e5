"""What W&B's stand-in has of runs after `bcq-dashboard sync`, figure for figure."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from filelock import FileLock

from bcq_exp.dashboards import sync
from bcq_exp.dashboards.upload import LOGIN
from synced import assert_all_there, clone, rows_of, run_id, same, synced
from trained import on_file, train_run
from wandb_server import Fault, WandbServer

pytest.importorskip("wandb")
pytestmark = pytest.mark.usefixtures("impatient")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, discrete_file: Path) -> Path:
    run_dir = tmp_path_factory.mktemp("trained") / "run"
    return train_run(run_dir, *on_file(discrete_file), "algorithm=dqn", "logger=csv")


def uploads(server: WandbServer) -> int:
    return server.requests.count("UpsertBucket")


def test_runs_are_there_whatever_they_left_and_once_however_often_they_are_synced(
    tmp_path: Path, trained: Path, wandb_server: WandbServer, capsys: pytest.CaptureFixture[str]
):
    finished, killed, cut, training = run_dirs = [
        clone(trained, tmp_path / "sweep" / name, seed, 30)
        for seed, name in enumerate(("finished", "killed", "cut", "training"))
    ]
    (killed / "summary.json").unlink()
    header = killed / "wandb" / "offline-run-20260101_000000-abcd1234" / "run-abcd1234.wandb"
    header.parent.mkdir(parents=True)
    header.write_bytes(b":W&B\xe1\xbe\x00")  # what W&B itself leaves of a run that is killed in its first seconds
    kept = {"run_id": "abcd1234", "group": "sweep", "began": 1_767_225_600}
    (killed / "wandb.json").write_text(json.dumps(kept))
    with (cut / "metrics.csv").open("a") as file:
        file.write("310,0.25")
    with FileLock(training / "run.lock"):
        assert synced(capsys, tmp_path) == (0, f"3 synced, 1 in training {training} in training")
    (cut / "metrics.csv").write_text((cut / "metrics.csv").read_text().removesuffix("310,0.25"))
    assert run_id(killed) == "abcd1234"
    assert_all_there(wandb_server, [finished, killed, cut])
    states = [wandb_server.runs[run_id(run_dir)].state for run_dir in (finished, killed, cut)]
    assert states == ["finished", "failed", "finished"]

    # `killed` is resumed and ends, and `training` has ended
    clone(trained, tmp_path / "resumed", 1, 45)
    for name in ("metrics.csv", "summary.json"):
        (tmp_path / "resumed" / name).replace(killed / name)
    num_sent = wandb_server.runs["abcd1234"].lines_sent
    assert synced(capsys, tmp_path / "sweep") == (0, "2 synced, 2 already there")
    assert_all_there(wandb_server, run_dirs)
    assert wandb_server.runs["abcd1234"].lines_sent == num_sent + 15  # the new rows alone
    assert wandb_server.runs["abcd1234"].state == "finished"
    assert (
        wandb_server.runs["abcd1234"].summary["final_return"]
        == json.loads((killed / "summary.json").read_text())["final_return"]
    )

    before = uploads(wandb_server)
    assert synced(capsys, tmp_path / "sweep", finished) == (0, "4 already there")
    assert uploads(wandb_server) == before


def test_a_run_whose_rows_are_others_in_wandb_fails_alone(
    tmp_path: Path, trained: Path, wandb_server: WandbServer, capsys: pytest.CaptureFixture[str]
):
    other, shorter, good = (clone(trained, tmp_path / name, 0, 30) for name in ("a", "b", "c"))
    assert synced(capsys, other, shorter)[0] == 0
    for run_dir, lines in ((other, slice(2, None)), (shorter, slice(0, -5))):
        header, *rows = (run_dir / "metrics.csv").read_text().splitlines(keepends=True)
        (run_dir / "metrics.csv").write_text("".join([header, *rows[lines]]))
    (other / "metrics.csv").open("a").write("310,1.0,1.0,\n320,1.0,1.0,\n")
    code, said = synced(capsys, tmp_path)
    assert code == 1
    assert said.startswith("1 synced, 2 failed")
    assert "the row 30 is update 300 in W&B and 320 in metrics.csv" in said
    assert "W&B has 30 rows and metrics.csv 25" in said
    assert len(wandb_server.runs[run_id(good)].history) == 30
    assert wandb_server.runs[run_id(other)].lines_sent == 30


FAULTS: list[tuple[Fault, int]] = [("unanswered", 6)]
ALL_FAULTS: list[tuple[Fault, int]] = [
    (fault, after) for fault in ("error", "hang", "vanish", "unanswered", "refuse") for after in (0, 3, 4, 5, 7, 9, 14)
]


@pytest.mark.parametrize(
    ("fault", "after"), [*FAULTS, *(pytest.param(*each, marks=pytest.mark.slow) for each in ALL_FAULTS)]
)
def test_a_server_that_fails_is_told_of_and_completed_later(
    fault: Fault, after: int, tmp_path: Path, trained: Path, wandb_server: WandbServer,
    capsys: pytest.CaptureFixture[str],
):  # fmt: skip
    run_dirs = [clone(trained, tmp_path / "runs" / str(seed), seed, 300) for seed in range(2)]
    wandb_server.fail(fault, after)
    try:
        code, said = synced(capsys, tmp_path / "runs")
    except ValueError as error:  # before any work
        code, said = 1, f"0 synced, 2 failed {error}"
    assert code == 1
    assert "failed" in said
    assert "Traceback" not in said
    wandb_server.heal()
    assert synced(capsys, tmp_path / "runs")[0] == 0
    assert_all_there(wandb_server, run_dirs)
    assert all(run.state == "finished" for run in wandb_server.runs.values())
    assert all("final_return" in run.summary for run in wandb_server.runs.values())


def test_without_a_login_one_line_says_how(
    tmp_path: Path, trained: Path, wandb_server: WandbServer, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):  # fmt: skip
    monkeypatch.delenv("WANDB_API_KEY")
    run_dir = clone(trained, tmp_path / "run", 0, 5)
    with pytest.raises(ValueError, match=r"^not logged in to W&B: `wandb login`, or set WANDB_API_KEY") as raised:
        synced(capsys, run_dir)
    assert str(raised.value) == LOGIN
    assert not (run_dir / "wandb").exists()
    assert wandb_server.requests == []


@pytest.mark.parametrize(
    ("make", "said"),
    [(False, "no such directory: .*nothing"), (True, "no run below .*nothing: a run has manifest.json and metrics")],
)
def test_a_directory_without_runs_is_an_error(make: bool, said: str, tmp_path: Path):
    if make:
        (tmp_path / "nothing").mkdir()
    with pytest.raises(ValueError, match=said):
        sync.find_runs([tmp_path / "nothing"])


def test_leet_reads_the_file_of_a_killed_run_back_and_nothing_is_left_elsewhere(
    tmp_path: Path, trained: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    run_dir = clone(trained, tmp_path / "run", 0, 30)
    (run_dir / "summary.json").unlink()
    assert synced(capsys, run_dir)[0] == 0
    assert list((tmp_path / "here").iterdir()) == []
    (file,) = run_dir.glob("wandb/offline-run-*/*.wandb")
    command = [sys.executable, "-m", "wandb", "leet", "inspect", "--json", str(file)]
    said = [json.loads(line) for line in subprocess.check_output(command, text=True).splitlines()]
    (begun,) = [record["run"] for record in said if record["type"] == "run"]
    assert (begun["run_id"], begun["config"]["update"]["seed"]) == (run_id(run_dir), 0)
    history = [record["history"]["item"] for record in said if record["type"] == "history"]
    rows = [{key: value for key, value in row.items() if key != "_step"} for row in history]
    assert same(rows, rows_of(run_dir))
