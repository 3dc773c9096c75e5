"""What W&B's stand-in has of runs' policies after `bcq-dashboard sync`, byte for byte."""

import os
import random
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bcq_exp.analysis.trained_runs import load_policy, trained_runs
from bcq_exp.io.animation import write_animation
from bcq_exp.io.files import read_json, sha256, write_json
from processes import begin, end
from synced import assert_all_there, begin_sync, run_id, synced
from trained import on_file, train_run
from wandb_server import Fault, Run, WandbServer

pytest.importorskip("wandb")
pytestmark = pytest.mark.usefixtures("impatient")
CHECKPOINT = "checkpoints/update_00000020"
FILES = {"manifest.json", "summary.json", "metrics.csv", ".hydra/config.yaml", ".hydra/overrides.yaml",
         f"{CHECKPOINT}/state.json", f"{CHECKPOINT}/tensors.safetensors"}  # fmt: skip


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, discrete_file: Path) -> Path:
    """A run that asks for its artifact, of which W&B knows nothing."""
    run_dir = tmp_path_factory.mktemp("trained") / "run"
    logger = ("logger=wandb", "logger.mode=disabled", "logger.artifacts=true")
    return train_run(run_dir, *on_file(discrete_file), "algorithm=dqn", *logger)


@pytest.fixture
def run_dir(trained: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(trained, tmp_path / "runs" / "run"))


def uploaded(server: WandbServer) -> list[str]:
    """The files of artifacts that were uploaded so far, those that came again included."""
    return sorted(
        name.removeprefix("artifact files/") for name in server.requests if name.startswith("artifact files/")
    )


def assert_one_artifact(server: WandbServer, run_dir: Path) -> None:
    """W&B has one artifact of a run, and its files are those of the run directory."""
    (artifact,) = server.store.committed(run_id(run_dir))
    assert server.store.files(artifact) == {name: (run_dir / name).read_bytes() for name in FILES}


def test_a_policy_is_there_byte_for_byte_and_once_however_often_it_is_synced(
    tmp_path: Path, run_dir: Path, wandb_server: WandbServer, capsys: pytest.CaptureFixture[str]
):
    os.chmod(run_dir / CHECKPOINT / "state.json", 0o640)
    assert synced(capsys, run_dir) == (0, "1 synced")
    assert_all_there(wandb_server, [run_dir])
    assert_one_artifact(wandb_server, run_dir)
    (artifact,) = wandb_server.store.artifacts
    assert uploaded(wandb_server) == sorted(FILES)
    assert (run_dir / CHECKPOINT / "state.json").stat().st_mode & 0o777 == 0o640
    assert artifact.name == f"dqn-h5-seed0-{run_id(run_dir)}"
    assert (artifact.said["artifactTypeName"], artifact.said["entityName"]) == ("model", "stand-in")
    summary = read_json(run_dir / "summary.json")
    assert artifact.metadata == {
        **{key: summary[key] for key in ("algorithm", "dataset", "env", "seed", "num_updates", "final_return")},
        "behaviour_return": summary["behaviour_return"],
        "dataset_sha256": read_json(run_dir / "manifest.json")["dataset"]["sha256"],
        "git_revision": read_json(run_dir / "manifest.json")["git_revision"],
    }

    before = wandb_server.requests.count("UpsertBucket")
    assert synced(capsys, run_dir) == (0, "1 already there")
    assert wandb_server.requests.count("UpsertBucket") == before

    # as if the command had been killed when the server had all
    kept = read_json(run_dir / "wandb.json")
    assert kept["artifact"]["files"][f"{CHECKPOINT}/state.json"] == sha256(run_dir / CHECKPOINT / "state.json")
    write_json(run_dir / "wandb.json", {key: value for key, value in kept.items() if key != "artifact"})
    assert synced(capsys, run_dir) == (0, "1 synced")
    assert_one_artifact(wandb_server, run_dir)
    assert uploaded(wandb_server) == sorted(FILES)
    assert read_json(run_dir / "wandb.json") == kept

    # whoever downloads it has a run directory
    for name, content in wandb_server.store.files(artifact).items():
        (tmp_path / "downloaded" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "downloaded" / name).write_bytes(content)
    (here,), (there,) = trained_runs(run_dir, "cpu"), trained_runs(tmp_path / "downloaded", "cpu")
    weights = [load_policy(run).state_dict() for run in (here, there)]
    assert weights[0].keys() == weights[1].keys()
    assert all(torch.equal(weights[0][key], weights[1][key]) for key in weights[0])


def figures(run: Run) -> dict[str, Any]:
    """Its summary without W&B's own `_step`, which W&B's client takes from the rows that it sends."""
    return {key: value for key, value in run.summary.items() if key != "_step"}


def test_an_animation_is_another_version_and_in_the_summary_and_no_row(
    run_dir: Path, wandb_server: WandbServer, capsys: pytest.CaptureFixture[str]
):
    assert synced(capsys, run_dir) == (0, "1 synced")
    run, animation = wandb_server.runs[run_id(run_dir)], run_dir / "evaluation_update_00000020.gif"
    before, num_sent = figures(run), run.lines_sent
    write_animation(animation, [np.zeros((4, 4, 3), np.uint8)], fps=10)
    assert synced(capsys, run_dir) == (0, "1 synced")
    assert synced(capsys, run_dir) == (0, "1 already there")
    assert_all_there(wandb_server, [run_dir])
    assert (run.lines_sent, run.state) == (num_sent, "finished")
    first, second = wandb_server.store.committed(run.name)
    assert wandb_server.store.files(first) == {name: (run_dir / name).read_bytes() for name in FILES}
    assert wandb_server.store.files(second) == {
        name: (run_dir / name).read_bytes() for name in {*FILES, animation.name}
    }
    assert uploaded(wandb_server) == sorted([*FILES, animation.name])
    video = run.summary["eval/video"]
    assert {key: value for key, value in figures(run).items() if key != "eval/video"} == before
    assert (video["_type"], video["sha256"], video["size"]) == (
        "video-file", sha256(animation), animation.stat().st_size,
    )  # fmt: skip
    assert run.uploads[video["path"]] == animation.read_bytes()


def test_only_runs_that_ask_for_it_and_those_that_the_flag_asks_for_have_one(
    run_dir: Path, wandb_server: WandbServer, capsys: pytest.CaptureFixture[str]
):
    config = run_dir / ".hydra" / "config.yaml"
    config.write_text(config.read_text().replace("  artifacts: true\n", ""))  # as before there were artifacts
    assert synced(capsys, run_dir) == (0, "1 synced")
    assert wandb_server.store.artifacts == []
    run = wandb_server.runs[run_id(run_dir)]
    num_sent = run.lines_sent
    assert synced(capsys, run_dir, artifacts=True) == (0, "1 synced")
    assert_one_artifact(wandb_server, run_dir)
    assert synced(capsys, run_dir, artifacts=True) == (0, "1 already there")
    assert_all_there(wandb_server, [run_dir])
    assert (run.lines_sent, run.state) == (num_sent, "finished")


def test_a_policy_that_is_refused_or_lacking_costs_no_row(
    run_dir: Path, wandb_server: WandbServer, capsys: pytest.CaptureFixture[str]
):
    wandb_server.store.is_full = True
    code, said = synced(capsys, run_dir)
    assert code == 1
    assert "all rows are there, but W&B did not take the artifact dqn-h5-seed0-" in said
    assert_all_there(wandb_server, [run_dir])
    num_sent = wandb_server.runs[run_id(run_dir)].lines_sent
    wandb_server.store.is_full = False
    assert synced(capsys, run_dir) == (0, "1 synced")
    assert_one_artifact(wandb_server, run_dir)
    assert wandb_server.runs[run_id(run_dir)].lines_sent == num_sent

    other = Path(shutil.copytree(run_dir, run_dir.with_name("other"), ignore=shutil.ignore_patterns("wandb*")))
    with (other / CHECKPOINT / "tensors.safetensors").open("ab") as file:
        file.write(b"more")
    code, said = synced(capsys, other)
    assert code == 1
    assert "tensors.safetensors is truncated or altered" in said
    shutil.rmtree(other / CHECKPOINT)
    code, said = synced(capsys, other)
    assert code == 1
    assert re.search(r"there is no policy to upload, \S+update_00000020 is missing; resume=\S+other writes it", said)
    assert_all_there(wandb_server, [run_dir, other])


FAULTS: list[tuple[Fault, int]] = [
    (fault, after) for fault in ("error", "hang", "vanish", "unanswered", "refuse") for after in (5, 8, 10, 13, 16, 19)
]


@pytest.mark.slow
@pytest.mark.parametrize(("fault", "after"), FAULTS)
def test_a_server_that_fails_on_the_way_gets_the_rest_later(
    fault: Fault, after: int, run_dir: Path, wandb_server: WandbServer, capsys: pytest.CaptureFixture[str]
):
    wandb_server.fail(fault, after)
    code, said = synced(capsys, run_dir)
    assert code == 1
    assert "Traceback" not in said
    wandb_server.heal()
    assert synced(capsys, run_dir) == (0, "1 synced")
    assert_all_there(wandb_server, [run_dir])
    assert_one_artifact(wandb_server, run_dir)


NUM_RUNS, NUM_KILLS = 12, 8


@pytest.mark.slow
def test_policies_are_there_once_through_kills(tmp_path: Path, trained: Path, wandb_server: WandbServer) -> None:
    run_dirs = [Path(shutil.copytree(trained, tmp_path / "runs" / str(number))) for number in range(NUM_RUNS)]
    moments = random.Random(0)
    for _ in range(NUM_KILLS):
        process = begin_sync(tmp_path, wandb_server, num_jobs=2, seconds=moments.uniform(0, 1))
        process.kill()
        process.communicate()
    assert len(wandb_server.store.committed()) < NUM_RUNS  # the kills came before the end
    code, said = end(begin(tmp_path, "dashboard", "sync", "runs", "--jobs", "2"))
    assert code == 0, said
    assert_all_there(wandb_server, run_dirs)
    for run_dir in run_dirs:
        assert_one_artifact(wandb_server, run_dir)
