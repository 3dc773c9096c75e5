"""Files that are there whole or not at all, whenever their process is killed."""

import hashlib
import json
import logging
import os
import sys
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from logging.handlers import MemoryHandler
from pathlib import Path
from typing import Any, Self


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A name beside `path` to write to: what lies there takes the place of `path` when the block ends, on disk.

    Where the block raises, `path` stays as it was. Several processes may write to one `path`; the last one stays.

    Args:
        path: a file that exists or not, in a folder that does.
    """
    partial = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        yield partial
        sync(partial)
        partial.replace(path)
        sync(path.parent)
    finally:
        partial.unlink(missing_ok=True)


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


def read_json(path: Path) -> dict[str, Any]:
    """Read what `write_json` wrote.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is empty, damaged or no JSON object.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: cannot be read, empty, truncated or damaged ({error})") from None
    if not isinstance(content, dict):
        raise ValueError(f"{path}: cannot be read, damaged (no JSON object)")
    return content


def cache_folder() -> Path:
    """The folder of collected and mapped datasets: the environment variable BCQ_EXP_CACHE, else in the user's cache."""
    if folder := os.environ.get("BCQ_EXP_CACHE"):
        return Path(folder)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "bcq_exp" / "datasets"
