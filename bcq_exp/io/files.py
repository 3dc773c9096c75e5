"""Files that are written whole or not at all, whenever their process is killed."""

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

PARTIAL = re.compile(r"\.(?P<name>.+)\.[0-9a-f]{32}\.partial")  # names that `replacing` writes to
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
    """Yield a temporary name beside `path`; the file written there replaces `path`, on disk, when the block ends.

    Where the block raises, `path` stays as it was. Where several processes write to one `path`, the last one wins.

    Args:
        path: a file, new or not, in a folder that exists.

    Raises:
        OSError: the file cannot be written; its `filename` is `path`.
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
    """Name `path` in an OSError of the block that names no file, as that of a failed write, or that names `partial`."""
    try:
        yield
    except OSError as error:
        if error.errno is not None and (error.filename is None or str(error.filename) == str(partial)):
            error.filename = str(path)
        raise


def clear_partials(folder: Path, stem: str = "") -> None:
    """Remove the temporary files of `replacing` that killed processes left in a folder.

    Args:
        folder: a folder; no other process may be writing files of this stem to it.
        stem: beginning of the names of the files that were to be written.
    """
    for path in folder.iterdir() if folder.is_dir() else ():
        match = PARTIAL.fullmatch(path.name)
        if match and match["name"].startswith(stem) and path.is_file() and not path.is_symlink():
            path.unlink()


def refusal(error: OSError) -> str | None:
    """One line, remedy included, for a disk that is full or cannot be written; None for any other error."""
    if words := FULL.get(error.errno or 0):
        return f"{words} while writing {error.filename}; free some and give the same command again"
    if words := CLOSED.get(error.errno or 0):
        return f"{error.filename}: {words}; make it writable, or choose another directory"
    return None


class HeldLog(MemoryHandler):
    """Log records of the root logger while entered, held back until the file for them can be written."""

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
        """Append the held records to a file, and each later one as it comes."""
        file = logging.FileHandler(path)
        formatters = [handler.formatter for handler in logging.getLogger().handlers if handler.formatter]
        file.setFormatter(formatters[0] if formatters else None)
        self.setTarget(file)
        self.capacity = 0
        self.flush()


def sync(path: Path) -> None:
    """Flush a file's content, or the names in a folder, to disk."""
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
    """Sha256 of a file's content, in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_json(path: Path, remedy: str = "restore it from a copy, or remove it") -> dict[str, Any]:
    """Read a file of `write_json`.

    Args:
        path: the file.
        remedy: the end of the message about a damaged file.

    Raises:
        ValueError: the file is damaged.
        OSError: the file cannot be read.
    """
    data = path.read_bytes()
    try:
        content = json.loads(data)
    except RecursionError:
        wrong = "is nested too deeply"
    except ValueError as error:  # not UTF-8, or not JSON
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
