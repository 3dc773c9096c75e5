"""Files on a real disk: what is there while, after and instead of a write."""

import errno
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

from bcq_exp.io.files import (
    HeldLog,
    cache_folder,
    clear_partials,
    json_object,
    read_json,
    refusal,
    replacing,
    write_bytes,
    write_json,
)


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
from bcq_exp.io.files import write_bytes
for number in range(10**9):
    write_bytes(Path(sys.argv[1]), bytes([number % 256]) * 1_000_000)
    if number == 0:
        print("begun", flush=True)
"""


def test_a_killed_writer_leaves_a_whole_file(tmp_path: Path):
    path = tmp_path / "data"
    for delay in range(10):
        env = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
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


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty"),
        (b" \n", "is empty"),
        (b'{"a": 1', "is no JSON (Expecting ',' delimiter: line 1 column 8 (char 7))"),
        (b"\xff\xff{}", "is no JSON ("),
        (b"[1]", "holds no JSON object"),
        (b"[" * 100_000, "is nested too deeply"),
        (b'{"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "is nested too deeply"),
    ],
)
def test_a_damaged_json_file_is_named_with_what_to_do(tmp_path: Path, content: bytes, said: str):
    path = tmp_path / "summary.json"
    path.write_bytes(content)
    with pytest.raises(ValueError, match="damaged") as raised:
        read_json(path, "write it anew")
    message = str(raised.value)
    assert message.startswith(f"{path} {said}")
    assert message.endswith("so it was damaged after it was written; write it anew")
    assert "\n" not in message


def test_only_what_a_killed_write_left_is_cleared(tmp_path: Path):
    killed = tmp_path / ".metrics.csv.0123456789abcdef0123456789abcdef.partial"
    others = [
        ".metrics.csv.swp",
        ".x.partial",
        "metrics.csv",
        f"{killed.name[1:]}",
        ".0123456789abcdef0123456789abcdef.partial",
    ]
    for name in (killed.name, *others):
        (tmp_path / name).write_text("")
    clear_partials(tmp_path, "summary")
    assert killed.exists()
    clear_partials(tmp_path)
    assert sorted(os.listdir(tmp_path)) == sorted(others)
    clear_partials(tmp_path / "nowhere")


def test_the_name_that_is_written_to_is_the_one_that_is_cleared(tmp_path: Path):
    pid = os.fork()
    if pid == 0:
        with replacing(tmp_path / "data") as partial:
            partial.write_bytes(b"half")
            os._exit(9)
    os.waitpid(pid, 0)
    assert len(os.listdir(tmp_path)) == 1
    clear_partials(tmp_path, "data")
    assert os.listdir(tmp_path) == []


def test_a_write_that_the_disk_refuses_names_the_file_and_what_to_do(tmp_path: Path):
    path = tmp_path / "summary.json"

    def refused(number: int, name: Path | None) -> OSError:
        with pytest.raises(OSError) as raised, replacing(path):
            raise OSError(number, os.strerror(number), *([str(name)] if name else []))
        return raised.value

    full = refused(errno.ENOSPC, None)  # as `write` raises it: without a name
    assert refusal(full) == f"no space left on device while writing {path}; free some and give the same command again"
    closed = refused(errno.EROFS, path)
    assert refusal(closed) == f"{path}: read-only file system; make it writable, or choose another directory"
    for kind in (str, Path):  # as whoever opened it has named it
        with pytest.raises(OSError) as raised, replacing(path) as partial:
            raise OSError(errno.EROFS, "", kind(partial))
        assert raised.value.filename == str(path)
    assert refused(errno.ENOSPC, tmp_path / "source").filename == str(tmp_path / "source")
    assert refusal(refused(errno.EIO, None)) is None
    assert os.listdir(tmp_path) == []


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


@pytest.mark.parametrize("text", [None, 3, "", "[1]", "{", "[" * 100_000, '"a"'])
def test_a_text_without_an_object_has_none(text: object) -> None:
    assert json_object(text) is None


def test_the_object_of_a_text() -> None:
    assert json_object(b'{"a": [1]}') == json_object('{"a": [1]}') == {"a": [1]}
