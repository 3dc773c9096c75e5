"""Files that are there whole or not at all, whenever their process is killed."""

import errno
import hashlib
import json
import logging
import os
import re
import sys
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from logging.handlers import MemoryHandler
from pathlib import Path
from typing import Any, Self

PARTIAL = re.compile(r"\.(?P<name>.+)\.[0-9a-f]{32}\.partial")  # what `replacing` writes to
FULL = {
    errno.ENOSPC: "no space left on device",
    errno.EDQUOT: "disk quota exceeded",
    errno.EFBIG: "the largest size of a file is reached",
}
CLOSED = {
    errno.EROFS: "read-only file system",
    errno.EACCES: "permission denied",
    errno.EPERM: "operation not permitted",
}


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A name beside `path` to write to: what lies there takes the place of `path` when the block ends, on disk.

    Where the block raises, `path` stays as it was. Several processes may write to one `path`; the last one stays.

    Args:
        path: a file that exists or not, in a folder that does.

    Raises:
        OSError: the disk refuses it; its `filename` is `path`.
    """
    partial = path.with_name(f".{path.name}.{uuid.uuid4().hex}.partial")
    try:
        with naming(path, partial):
            yield partial
            sync(partial)
            partial.replace(path)
            sync(path.parent)
    finally:
        if partial.exists():  # a read-only disk refuses to remove what is not there
            partial.unlink()


@contextmanager
def naming(path: Path, partial: Path | None = None) -> Iterator[None]:
    """Name `path` in an OSError of the block that names no file, as of a failing write, or names `partial`."""
    try:
        yield
    except OSError as error:
        if error.errno is not None and (error.filename is None or str(error.filename) == str(partial)):
            error.filename = str(path)
        raise


def clear_partials(folder: Path, stem: str = "") -> None:
    """Remove what killed processes left half written in a folder: files named as `replacing` names them, no others.

    Args:
        folder: one that no other process writes to.
        stem: of the names that are meant, where others may write the rest.
    """
    for path in folder.iterdir() if folder.is_dir() else ():
        match = PARTIAL.fullmatch(path.name)
        if match and match["name"].startswith(stem) and path.is_file() and not path.is_symlink():
            path.unlink()


def refusal(error: OSError) -> str | None:
    """One line for a disk that is full or cannot be written, with what to do; None for any other error."""
    if words := FULL.get(error.errno or 0):
        return f"{words} while writing {error.filename}; free some and give the same command again"
    if words := CLOSED.get(error.errno or 0):
        return f"{error.filename}: {words}; make it writable, or choose another directory"
    return None


class HeldLog(MemoryHandler):
    """Records of the root logger while it is entered, held back until there is a place to write them to."""

    def __init__(self) -> None:
        super().__init__(sys.maxsize, flushLevel=sys.maxsize)

    def __enter__(self) -> Self:
        logging.getLogger().addHandler(self)
        return self

    def __exit__(self, *_: object) -> None:
        logging.getLogger().removeHandler(self)
        file = self.target
        self.close()
        if file is not None:
            file.close()

    def write_to(self, path: Path) -> None:
        """Append to a file what was held back, and from now on each record as it comes."""
        file = logging.FileHandler(path)
        formatters = [handler.formatter for handler in logging.getLogger().handlers if handler.formatter]
        file.setFormatter(formatters[0] if formatters else None)
        self.setTarget(file)
        self.capacity = 0
        self.flush()


def sync(path: Path) -> None:
    """Put a file's content, or the names in a folder, on disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file whole or not at all."""
    with replacing(path) as partial:
        partial.write_bytes(content)


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON file whole or not at all.

    Raises:
        ValueError: a number is not finite, which JSON cannot hold.
    """
    write_bytes(path, (json.dumps(dict(content), indent=2, allow_nan=False) + "\n").encode())


def sha256(path: Path) -> str:
    """The hash of a file's content, in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_json(path: Path, remedy: str = "restore it from a copy, or remove it") -> dict[str, Any]:
    """Read what `write_json` wrote.

    Args:
        path: of the file.
        remedy: what to do about a damaged one, for the message.

    Raises:
        ValueError: it is damaged.
        OSError: it cannot be read.
    """
    data = path.read_bytes()
    try:
        content = json.loads(data)
    except RecursionError:
        wrong = "is nested too deeply"
    except ValueError as error:  # of its letters or of its JSON
        wrong = f"is no JSON ({error})" if data.strip() else "is empty"
    else:
        if isinstance(content, dict):
            return content
        wrong = "holds no JSON object"
    raise ValueError(f"{path} {wrong}, so it was damaged after it was written; {remedy}")


def json_object(text: Any) -> dict[str, Any] | None:
    """The object that a JSON text holds; None where there is no text, no JSON or no object."""
    try:
        content = json.loads(text)
    except (TypeError, ValueError, RecursionError):
        return None
    return content if isinstance(content, dict) else None


def cache_folder() -> Path:
    """The folder of collected and mapped datasets: the environment variable BCQ_EXP_CACHE, else in the user's cache."""
    if folder := os.environ.get("BCQ_EXP_CACHE"):
        return Path(folder)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "bcq_exp" / "datasets"
