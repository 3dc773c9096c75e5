"""NumPy's `.npz` archives of plain arrays; nothing in them is ever unpickled."""

import zipfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from bcq_exp.data.columns import Array, check_numbers
from bcq_exp.data.formats import npy
from bcq_exp.data.formats.file_format import ColumnsFile
from bcq_exp.data.formats.npy import DAMAGED
from bcq_exp.data.storage import check_declared, check_memory

SIGNATURE = b"PK\x03\x04"  # that a file begins with
SUFFIX = ".npy"  # of an archive's members


class Npz(ColumnsFile):
    """Archives with an array for each column."""

    title = ".npz archive"

    def matches(self, path: Path, head: bytes) -> bool:
        """Whether a file has the signature of a zip archive."""
        return head.startswith(SIGNATURE)

    def names(self, path: Path) -> list[str]:
        """The names of an archive's arrays; raises like `read_columns`."""
        with opened(path) as archive:
            for member in archive.namelist():
                archive.open(member).close()  # refuses a name that the archive's list has otherwise than the member
            return [name.removesuffix(SUFFIX) for name in archive.namelist() if name.endswith(SUFFIX)]

    def read_columns(self, path: Path, keys: Iterable[str]) -> dict[str, Array]:
        """Read those of the named arrays that an archive has.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: the archive is damaged, an array is not of plain numbers, or it declares more than its bytes can
                hold.
        """
        there, kinds = set(self.names(path)), {}
        present = [key for key in keys if key in there]
        with opened(path) as archive:
            for key in present:
                member = archive.getinfo(key + SUFFIX)
                with _member(archive, key) as file:
                    shape, _, dtype = npy.read_header(file)
                    size = npy.num_bytes(shape, dtype)
                    if size > member.file_size - file.tell():
                        raise ValueError(f"at the key {key}: its header declares {size:,} bytes, more than there are")
                check_declared(member.file_size, min(member.compress_size, path.stat().st_size))
                kinds[key] = dtype, size
            check_memory(sum(size for _, size in kinds.values()))
        for key, (dtype, _) in kinds.items():
            check_numbers(dtype, key, str(path))
        columns = {}
        with opened(path) as archive:
            for key in present:
                with _member(archive, key) as file:
                    columns[key] = npy.read_array(file)
        return columns


@contextmanager
def opened(path: Path) -> Iterator[zipfile.ZipFile]:
    """Open an archive to read; errors inside the block become those of `npy.naming_damage`."""
    with npy.naming_damage(path, ".npz archive of plain arrays"), zipfile.ZipFile(path) as archive:
        yield archive


@contextmanager
def _member(archive: zipfile.ZipFile, key: str) -> Iterator[zipfile.ZipExtFile]:
    """Open an array's content to read; the message of an error inside the block names its key."""
    try:
        with archive.open(key + SUFFIX) as file:
            assert isinstance(file, zipfile.ZipExtFile)
            yield file
    except DAMAGED as error:
        raise ValueError(str(error) if str(error).startswith("at the key") else f"at the key {key}: {error}") from None
