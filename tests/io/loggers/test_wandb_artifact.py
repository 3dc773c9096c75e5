"""The names of artifacts, and which runs have one."""

from pathlib import Path

import pytest

from bcq_exp.io.files import read_json, write_json
from bcq_exp.io.loggers.form import LoggedRun
from bcq_exp.io.loggers.wandb_artifact import MAX_NAME, RunArtifact, artifact_name
from trained import on_file, train_run


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("dqn-h5-seed0 lr=1e-3", "dqn-h5-seed0-a1b2c3d4"),
        ("dqn-größe/2.h5-seed1", "dqn-gr-e-2.h5-seed1-a1b2c3d4"),
        ("x" * 300, "x" * (MAX_NAME - 9) + "-a1b2c3d4"),
    ],
)
def test_a_name_has_what_wandb_takes_and_the_runs_id(name: str, expected: str) -> None:
    assert artifact_name(name, "a1b2c3d4") == expected
    pytest.importorskip("wandb").Artifact(expected, "model")  # raises where W&B does not take it


def test_a_run_has_one_when_it_has_finished_until_wandb_has_the_same_files(tmp_path: Path, discrete_file: Path) -> None:
    run_dir = train_run(tmp_path / "run", *on_file(discrete_file))
    run = LoggedRun(run_dir, "dqn", "g", "dqn", {}, read_json(run_dir / "manifest.json"))
    write_json(run_dir / "wandb.json", {"run_id": "a1b2c3d4"})
    artifact = RunArtifact.due(run, "a1b2c3d4")
    assert artifact is not None
    artifact.keep_account(run_dir)
    assert read_json(run_dir / "wandb.json")["run_id"] == "a1b2c3d4"
    assert RunArtifact.due(run, "a1b2c3d4") is None
    animation = run_dir / "evaluation_update_00000020.gif"
    animation.write_bytes(b"GIF89a")
    again = RunArtifact.due(run, "a1b2c3d4")
    assert again is not None
    assert set(again.files) - set(artifact.files) == {animation.name}
    (run_dir / "evaluation_update_00000010.gif").write_bytes(b"GIF89a")  # of another checkpoint
    assert RunArtifact.due(run, "a1b2c3d4").files == again.files

    summary = read_json(run_dir / "summary.json")
    for status in ("failed", "pruned"):
        write_json(run_dir / "summary.json", {**summary, "status": status})
        assert RunArtifact.due(run, "a1b2c3d4") is None
    (run_dir / "summary.json").unlink()
    assert RunArtifact.due(run, "a1b2c3d4") is None
