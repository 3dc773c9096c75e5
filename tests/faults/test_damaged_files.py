"""The message about a damaged file says what to do; where that is safe, the program works around the file."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from bcq_exp.io.checkpoint import common_checkpoints
from bcq_exp.io.files import read_json
from processes import SMALL, give, on_file, result

SWEEP = ("-m", *SMALL[:-1], "seed=0,1", "hydra.sweep.dir=sweep")
DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda content: b"",
    "cut": lambda content: content[: len(content) // 2],
    "bytes": lambda content: bytes(byte ^ 0x80 for byte in content),
}


def damage(path: Path, how: str) -> None:
    path.write_bytes(DAMAGES[how](path.read_bytes()))


@pytest.fixture
def sweep(tmp_path: Path, discrete_file: Path) -> Path:
    code, said = give(tmp_path, "train", *SWEEP, *on_file(discrete_file))
    assert code == 0, said
    return tmp_path / "sweep"


def test_a_sweep_with_damaged_runs_is_reported_without_them_and_mended_by_the_same_command(
    sweep: Path, discrete_file: Path
):
    one, other = sorted(path.parent for path in sweep.glob("*/summary.json"))
    before = {run_dir: (result(run_dir), read_json(run_dir / "summary.json")) for run_dir in (one, other)}
    for how in DAMAGES:
        damage(one / "summary.json", how)
        code, said = give(sweep.parent, "report", str(sweep))
        assert (code, said.count(str(one / "summary.json"))) == (0, 1), said
        assert f"resume={one} writes it anew from the last checkpoint; the run is left out" in said
        code, said = give(sweep.parent, "evaluate", f"run={sweep}", "episodes=1")
        assert (code, said.count(str(one / "summary.json"))) == (0, 1), said
        if how == "cut":  # the newest checkpoint as well, and rows
            damage(common_checkpoints([one])[0][0] / "state.json", how)
            damage(one / "metrics.csv", how)
        code, said = give(sweep.parent, "train", *SWEEP, *on_file(discrete_file))
        assert code == 0, said
        for run_dir, (made, summary) in before.items():
            assert result(run_dir) == made
            measured = ("updates_per_second", "compile_seconds")
            found = read_json(run_dir / "summary.json")
            assert {k: v for k, v in found.items() if k not in measured} == {
                k: v for k, v in summary.items() if k not in measured
            }


@pytest.mark.parametrize(("name", "how"), [("sweep.json", "empty"), ("groups/*.json", "cut")])
def test_a_sweeps_own_accounts_are_named(tmp_path: Path, discrete_file: Path, name: str, how: str):
    typed = (*SWEEP, *on_file(discrete_file), "num_updates=50")
    assert give(tmp_path, "train", *typed)[0] == 0
    (path,) = (tmp_path / "sweep").glob(name)
    damage(path, how)
    code, said = give(tmp_path, "train", *typed)
    assert code == 1
    assert said.splitlines()[-1].startswith(f"error: {path} ")
    assert "resume=false puts the sweep aside and begins anew" in said
    code, said = give(tmp_path, "train", *typed, "resume=false")
    assert code == 0, said


def test_a_run_goes_on_from_the_checkpoint_before_a_damaged_one_and_says_when_none_is_whole(
    tmp_path: Path, discrete_file: Path
):
    assert give(tmp_path, "train", *SMALL, *on_file(discrete_file))[0] == 0
    run_dir = tmp_path / "run"
    before = result(run_dir)
    newest, older = (paths[0] for paths in common_checkpoints([run_dir]))
    damage(newest / "tensors.safetensors", "cut")
    code, said = give(tmp_path, "evaluate", f"run={run_dir}", "episodes=1")
    assert code == 1
    assert f"{newest / 'tensors.safetensors'} is truncated or altered; resume={run_dir} writes it anew" in said
    code, said = give(tmp_path, "train", "resume=run")
    assert code == 0, said
    assert f"{newest / 'tensors.safetensors'} is truncated or altered; the checkpoint before is used" in said
    assert result(run_dir) == before

    for path in (newest, older):
        damage(path / "state.json", "empty")
    code, said = give(tmp_path, "train", "resume=run")
    assert code == 1
    assert f"remove {run_dir / 'checkpoints'} to begin from the first update" in said.splitlines()[-1]


def test_a_checkpoint_of_an_earlier_release_is_refused_in_words(tmp_path: Path, discrete_file: Path):
    assert give(tmp_path, "train", *SMALL, *on_file(discrete_file), "num_updates=50")[0] == 0
    (path,) = common_checkpoints([tmp_path / "run"])[0]
    content = json.loads((path / "state.json").read_text())
    (path / "state.json").write_text(json.dumps(content | {"version": 1}))
    code, said = give(tmp_path, "train", "resume=run")
    assert code == 1
    assert "format version 1, but this release reads 2 only: go on with the release that wrote it" in said


@pytest.mark.parametrize("name", ["config.yaml", "overrides.yaml"])
def test_a_damaged_configuration_is_named(tmp_path: Path, discrete_file: Path, name: str):
    assert give(tmp_path, "train", *SMALL, *on_file(discrete_file), "num_updates=50")[0] == 0
    path = tmp_path / "run" / ".hydra" / name
    damage(path, "empty")
    code, said = give(tmp_path, "train", "resume=run")
    assert code == 1
    assert str(path) in said.splitlines()[-1]
    assert "restore it from a copy" in said.splitlines()[-1]


def test_a_damaged_dataset_of_the_cache_is_collected_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("BCQ_EXP_CACHE", str(tmp_path / "cache"))
    typed = ["dataset=cartpole-noisy", "dataset.num_transitions=300", "hydra.run.dir=out"]
    assert give(tmp_path, "collect", *typed)[0] == 0
    (account,), (data,) = (tmp_path / "cache").glob("*.json"), (tmp_path / "cache").glob("*.h5")
    whole = data.read_bytes()
    for path in (account, data):
        damage(path, "empty")
        code, said = give(tmp_path, "collect", *typed)
        assert code == 0, said
        assert data.read_bytes() == whole
        assert read_json(account)["num_transitions"] == 300
