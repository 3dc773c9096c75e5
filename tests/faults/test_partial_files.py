"""Files that a killed process left half written are removed by the next start, and no others."""

import os
import signal
from pathlib import Path

import pytest

from processes import SMALL, begin, give, num_rows, on_file, wait_for

HEX = "0123456789abcdef" * 2


def test_a_run_clears_what_was_left_in_its_folder(tmp_path: Path, discrete_file: Path):
    process = begin(tmp_path, "train", *SMALL, *on_file(discrete_file))
    wait_for(lambda: num_rows(tmp_path / "run") >= 1, process)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    run_dir = tmp_path / "run"
    ours = [run_dir / f".summary.json.{HEX}.partial", run_dir / f".manifest.json.{HEX}.partial",
            run_dir / "checkpoints" / ".partial" / "state.json"]  # fmt: skip
    others = [run_dir / ".notes.partial", run_dir / f"{HEX}.partial", run_dir / "mine" / f".data.{HEX}.partial",
              run_dir / "checkpoints" / ".notes"]  # fmt: skip
    for path in (*ours, *others):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("half")
    code, said = give(tmp_path, "train", "resume=run")
    assert code == 0, said
    assert not any(path.exists() for path in ours)
    assert all(path.read_text() == "half" for path in others)
    assert ".partial" not in os.listdir(run_dir / "checkpoints")


def test_a_collection_clears_what_was_left_of_its_dataset_and_not_of_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    cache = tmp_path / "cache"
    monkeypatch.setenv("BCQ_EXP_CACHE", str(cache))
    typed = ["dataset=cartpole-noisy", "dataset.num_transitions=300", "hydra.run.dir=out"]
    assert give(tmp_path, "collect", *typed)[0] == 0
    (data,) = cache.glob("*.h5")
    data.unlink()
    ours = [cache / f".{data.name}.{HEX}.partial", cache / f".{data.stem}.leg0.h5.{HEX}.partial"]
    other = cache / f".pendulum-noisy-1.h5.{HEX}.partial"
    for path in (*ours, other):
        path.write_text("half")
    code, said = give(tmp_path, "collect", *typed)
    assert code == 0, said
    assert not any(path.exists() for path in ours)
    assert other.exists()
