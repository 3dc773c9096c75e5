import multiprocessing
import resource
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from bcq_exp.io.files import read_json
from bcq_exp.training import directories
from bcq_exp.training.directories import (
    LOCK,
    MANIFEST,
    WRITTEN,
    Kept,
    claim,
    make_new,
    missing_folders,
    most_runs,
    remove_empty,
)
from bcq_exp.training.identity import Identity

KEPT = Kept({"seed": 1, "name": "1e3"}, ["seed=1"], {"job": {"num": 0}})


def run(**config: Any) -> Identity:
    return Identity({"num_updates": 10, "seed": 0, **config}, "c" * 64, "d" * 64)


def take(path: Path, identity: Identity, **options: Any) -> Any:
    (made,) = claim({path: identity}, **{"allow_code_change": False, "remedy": "go elsewhere", **options})
    return made


def test_starts_at_one_time_get_directories_of_their_own(tmp_path: Path):
    with multiprocessing.get_context("fork").Pool(4) as pool:
        made = pool.map(make_new, [tmp_path / "a" / "12-00-00"] * 8)
    assert sorted(path.name for path in made) == ["12-00-00", *(f"12-00-00-{i}" for i in range(2, 9))]
    assert all(path.is_dir() for path in made)


def test_only_folders_that_were_missing_are_removed_and_only_if_they_are_empty(tmp_path: Path):
    (tmp_path / "there").mkdir()
    made = missing_folders(tmp_path / "there" / "a" / "b")
    assert made == [tmp_path / "there" / "a", tmp_path / "there" / "a" / "b"]
    made[-1].mkdir(parents=True)
    (made[-1] / "file").write_text("")
    remove_empty(made)
    assert (made[-1] / "file").exists()
    (made[-1] / "file").unlink()
    remove_empty(made)
    assert list(tmp_path.iterdir()) == [tmp_path / "there"]


def test_a_claim_says_what_the_run_is_and_by_whom_it_was_trained(tmp_path: Path):
    first = take(tmp_path / "run", run())
    first.begin(KEPT, {"command": "first", "host": "a", "dataset": {"sha256": "d" * 64, "num": 3}})
    first.release()
    second = take(tmp_path / "run", run())
    assert second.shorter is None
    second.begin(KEPT, {"command": "second", "host": "b"})
    manifest = read_json(tmp_path / "run" / MANIFEST)
    assert (manifest["command"], manifest["config"]) == ("second", {"num_updates": 10, "seed": 0})
    assert manifest["earlier"] == [{"command": "first", "host": "a", "source_sha256": "c" * 64}]
    assert (tmp_path / "run" / ".hydra" / "config.yaml").read_text() == "seed: 1\nname: '1e3'\n"
    assert (tmp_path / "run" / ".hydra" / "overrides.yaml").read_text() == "- seed=1\n"


def test_another_run_is_refused_and_leaves_the_directory_as_it_was(tmp_path: Path):
    first = take(tmp_path, run())
    first.begin(KEPT, {})
    first.release()
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    with pytest.raises(ValueError, match=r"holds another run .*:\n  seed: 0 before, 1 now\ngo else"):
        take(tmp_path, run(seed=1))
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_a_longer_run_puts_the_shorter_ones_summary_away_and_says_where_it_ended(tmp_path: Path):
    first = take(tmp_path, run())
    first.begin(KEPT, {"command": "first"})
    first.release()
    (tmp_path / "summary.json").write_text("{}")
    longer = take(tmp_path, run(num_updates=30))
    assert longer.shorter == 10
    longer.begin(KEPT, {"command": "second"})
    assert not (tmp_path / "summary.json").exists()
    assert read_json(tmp_path / MANIFEST)["config"]["num_updates"] == 30


@pytest.mark.parametrize("name", WRITTEN)
def test_what_others_left_where_a_run_would_write_is_named_and_left(tmp_path: Path, name: str):
    (tmp_path / name).mkdir()
    with pytest.raises(ValueError, match=rf"has {name} but no manifest\.json.*go elsewhere"):
        take(tmp_path, run())
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_files_that_no_run_writes_are_no_matter(tmp_path: Path):
    (tmp_path / "notes.txt").write_text("mine")
    take(tmp_path, run()).begin(KEPT, {})
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_a_directory_has_one_writer_at_a_time(tmp_path: Path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    with FileLock(tmp_path / "b" / LOCK), pytest.raises(ValueError, match=rf"another process writes to {tmp_path}/b"):
        claim({tmp_path / "a": run(), tmp_path / "b": run()}, allow_code_change=False, remedy="")
    both = claim({tmp_path / "a": run(), tmp_path / "b": run()}, allow_code_change=False, remedy="")
    with pytest.raises(ValueError, match=rf"another process writes to {tmp_path}/a"):
        take(tmp_path / "a", run())
    both[1].begin(KEPT, {"command": "first", "host": "here", "pid": 12})
    with pytest.raises(ValueError, match=rf"another process \(12 on here\) writes to {tmp_path}/b"):
        take(tmp_path / "b", run())
    both[0].release()
    take(tmp_path / "a", run())


def test_what_is_there_as_it_is_is_not_written_again(tmp_path: Path):
    files = KEPT.write(tmp_path)
    before = [path.stat().st_ino for path in files]
    changed = replace(KEPT, overrides=["seed=2"]).write(tmp_path)
    assert changed == files
    assert {path.name for path, old in zip(files, before, strict=True) if path.stat().st_ino != old} == {
        "overrides.yaml"
    }
    assert files[1].read_text() == "- seed=2\n"


def test_a_process_may_open_the_files_of_all_runs_that_it_takes(tmp_path: Path):
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    runs = {tmp_path / str(number): run() for number in range(80)}
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, limits[1]))
    try:
        for each in claim(runs, allow_code_change=False, remedy=""):
            each.release()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


def test_more_runs_than_a_process_can_have_are_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setattr(directories.resource, "getrlimit", lambda _: (64, 74))
    monkeypatch.setattr(directories.resource, "setrlimit", lambda *_: None)
    assert most_runs() == 2
    with pytest.raises(ValueError, match=r"3 runs in one process .* allowed are 2 runs; raise the limit"):
        claim({tmp_path / name: run() for name in "abc"}, allow_code_change=False, remedy="")
    assert list(tmp_path.iterdir()) == []


def test_a_start_that_was_killed_before_its_manifest_is_begun_again(tmp_path: Path):
    first = take(tmp_path, run())
    KEPT.write(tmp_path)
    first.release()
    take(tmp_path, run()).begin(KEPT, {})
    assert read_json(tmp_path / MANIFEST)["config"]["seed"] == 0
