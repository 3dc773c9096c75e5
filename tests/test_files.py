"""Files on a real disk: what is there while, after and instead of a write."""

import logging
import math
import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bcq_exp.files import HeldLog, cache_folder, read_json, replacing, write_bytes, write_json


def test_the_old_file_stays_until_the_new_one_is_whole(tmp_path: Path):
    path = tmp_path / "data"
    path.write_bytes(b"old")
    with replacing(path) as partial:
        partial.write_bytes(b"ne")
        assert (partial.parent, path.read_bytes()) == (tmp_path, b"old")
        partial.write_bytes(b"new")
    assert path.read_bytes() == b"new"
    assert os.listdir(tmp_path) == ["data"]


def test_a_block_that_raises_leaves_the_old_file_and_nothing_else(tmp_path: Path):
    path = tmp_path / "data"

    def write_half() -> None:
        with replacing(path) as partial:
            partial.write_bytes(b"half")
            raise KeyError

    for before in ([], ["data"]):
        with pytest.raises(KeyError):
            write_half()
        assert os.listdir(tmp_path) == before
        path.write_bytes(b"old")
    assert path.read_bytes() == b"old"


def test_content_is_on_disk_before_it_has_the_name_and_the_name_thereafter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    seen = []
    fsync = os.fsync

    def spy(descriptor: int) -> None:
        is_folder = stat.S_ISDIR(os.fstat(descriptor).st_mode)
        seen.append(("folder" if is_folder else os.pread(descriptor, 9, 0), (tmp_path / "data").exists()))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", spy)
    write_bytes(tmp_path / "data", b"content")
    assert seen == [(b"content", False), ("folder", True)]


def test_two_writers_at_once_do_not_mix(tmp_path: Path):
    path = tmp_path / "data"
    with replacing(path) as one, replacing(path) as other:
        one.write_bytes(b"one")
        other.write_bytes(b"other")
    assert path.read_bytes() == b"one"  # it ended last
    assert os.listdir(tmp_path) == ["data"]


KILLED = """
import sys
from pathlib import Path
from bcq_exp.files import write_bytes
for number in range(10**9):
    write_bytes(Path(sys.argv[1]), bytes([number % 256]) * 1_000_000)
    if number == 0:
        print("begun", flush=True)
"""


def test_a_killed_writer_leaves_a_whole_file(tmp_path: Path):
    path = tmp_path / "data"
    for delay in range(10):
        env = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
        process = subprocess.Popen([sys.executable, "-c", KILLED, path], env=env, stdout=subprocess.PIPE)
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(delay / 1000)
        process.send_signal(signal.SIGKILL)
        process.wait()
        content = path.read_bytes()
        assert len(content) == 1_000_000
        assert len(set(content)) == 1


def test_json_is_written_whole_or_not_at_all(tmp_path: Path):
    path = tmp_path / "summary.json"
    write_json(path, {"a": 1, "ä": None})
    with pytest.raises(ValueError):
        write_json(path, {"a": math.nan})
    assert read_json(path) == {"a": 1, "ä": None}
    assert os.listdir(tmp_path) == ["summary.json"]


def test_default_cache_is_the_users(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BCQ_EXP_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert cache_folder() == Path("/somewhere/bcq_exp/datasets")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder() == Path.home() / ".cache/bcq_exp/datasets"


def test_what_is_logged_before_there_is_a_file_is_in_it_and_what_follows_too(tmp_path: Path):
    logger = logging.getLogger("held")
    with HeldLog() as held:
        logger.error("before")
        held.write_to(tmp_path / "log")
        logger.error("after")
    logger.error("outside")
    lines = (tmp_path / "log").read_text().splitlines()
    assert [line.split()[-1] for line in lines] == ["before", "after"]
    with HeldLog():
        logger.error("never written")
    assert [path.name for path in tmp_path.iterdir()] == ["log"]


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b"3", b"\xff", b"[" * 100_000, b"null"])
def test_a_damaged_json_file_is_named_in_one_line(tmp_path: Path, content: bytes):
    path = tmp_path / "a.json"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"a\.json: cannot be read, ") as raised:
        read_json(path)
    assert "\n" not in str(raised.value)
