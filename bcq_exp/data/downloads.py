"""Downloads of files, which resume where a connection broke; the hash of each file is written beside it."""

import logging
import shutil
from http.client import HTTPException
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from filelock import FileLock

from bcq_exp.io.files import sha256, write_bytes

TIMEOUT = 30  # seconds without a byte
CHUNK = 1 << 20

log = logging.getLogger(__name__)


def fetch(url: str, path: Path) -> None:
    """Download a file unless it is there; its sha256 is written beside it, in the form that `sha256sum -c` reads.

    Bytes from a connection that breaks are kept in `PATH.part`; this call, or the next one, resumes there.

    Raises:
        ValueError: it cannot be downloaded or written, naming the file, its address and where to put it.
    """
    if path.exists():
        return
    part = path.with_name(f"{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{path}.lock"):
            if path.exists():
                return
            log.info("downloading %s to %s", url, path)
            while not _is_whole(url, part):
                log.warning("the connection to %s broke; going on from byte %d", url, _size(part))
            write_bytes(_beside(path), f"{sha256(part)}  {path.name}\n".encode())
            part.replace(path)
    except (OSError, HTTPException) as error:
        raise ValueError(
            f"{path.name} is not in {path.parent} and could not be downloaded ({error}); fetch it from {url} where "
            f"there is a network and put it at {path}, or name the file with dataset.path=FILE"
        ) from None


def _is_whole(url: str, part: Path) -> bool:
    """Whether one connection completes `part`; raises OSError or HTTPException where it brings nothing."""
    begun = _size(part)
    request = Request(url, headers={"Range": f"bytes={begun}-"} if begun else {})
    try:
        with urlopen(request, timeout=TIMEOUT) as answer:
            goes_on = answer.status == 206
            length = answer.headers["Content-Length"]
            with part.open("ab" if goes_on else "wb") as file:
                shutil.copyfileobj(answer, file, CHUNK)
        missing = 0 if length is None else int(length) + begun * goes_on - _size(part)
        if missing <= 0:
            return True
        broken: Exception = ConnectionError(f"the connection ends {missing} bytes before the file does")
    except HTTPError as error:
        if error.code != 416 or not begun:
            raise
        part.unlink()  # it goes beyond the file's last byte, so it is no part of this file
        return False
    except (OSError, HTTPException) as error:
        broken = error
    if _size(part) > begun:
        return False
    raise broken


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _beside(path: Path) -> Path:
    return path.with_name(f"{path.name}.sha256")


def check_sha256(path: Path) -> None:
    """Raise ValueError if a file differs from the hash beside it, where there is one."""
    beside = _beside(path)
    if path.exists() and beside.exists() and beside.read_text(encoding="utf-8").split()[:1] != [sha256(path)]:
        raise ValueError(f"{path}: not as it was downloaded, by {beside.name} beside it; remove both, or put it back")
