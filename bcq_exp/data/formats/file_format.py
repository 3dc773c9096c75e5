"""Formats of files and folders that datasets are read from; `readers.FORMATS` lists them."""

from abc import ABC, abstractmethod
from collections.abc import Iterable
from pathlib import Path
from typing import ClassVar

from bcq_exp.data.columns import Array
from bcq_exp.data.formats import layouts
from bcq_exp.data.transitions import Transitions


class FileFormat(ABC):
    """A format that is told by the content of a file or folder.

    `title`, `content` and `note` are what `bcq-collect inspect --layouts` prints of it.
    """

    title: ClassVar[str]
    content: ClassVar[str]
    note: ClassVar[str] = ""

    @abstractmethod
    def matches(self, path: Path, head: bytes) -> bool:
        """Whether a file or folder is of this format, be it damaged.

        Args:
            path: of the file or folder.
            head: how the file begins (`foreign.SNIFFED` bytes, or all of it); empty for a folder.
        """

    @abstractmethod
    def read(self, path: Path, max_episode_steps: int | None) -> Transitions:
        """Read and check a dataset.

        Args:
            path: one that `matches`.
            max_episode_steps: as for `read_transitions`.

        Raises:
            ValueError: it is damaged, or a value is bad (naming file, key and first bad row).
        """

    def read_columns(self, path: Path, keys: Iterable[str]) -> dict[str, Array]:
        """Read, unchecked, those of the named columns that stand in the file for the whole recording."""
        return {}

    def env(self, path: Path) -> str | None:
        """The Gymnasium id that the dataset names as its environment; None where it names none."""
        return None


class ColumnsFile(FileFormat):
    """A format of named columns, whose names are those of one of `LAYOUTS`."""

    content = "the columns of one of the layouts of names"

    @abstractmethod
    def names(self, path: Path) -> list[str]:
        """The names of a file's columns, and of what else it holds; raises ValueError for a damaged one."""

    @abstractmethod
    def read_columns(self, path: Path, keys: Iterable[str]) -> dict[str, Array]:
        """Read, unchecked, those of the named columns that a file has; raises ValueError for a damaged one."""

    def read(self, path: Path, max_episode_steps: int | None) -> Transitions:
        """See `FileFormat.read`; raises ValueError where the names are of no layout, too."""
        source, names = str(path), self.names(path)
        layout = layouts.match(names)
        if layout is None:
            raise ValueError(layouts.unknown(source, "unknown layout with keys", names))
        keys = layouts.keys(layout, names, source)
        columns = layouts.renamed(self.read_columns(path, keys.values()), keys)
        return layout.rule(columns, source, {**layout.names, **keys}, max_episode_steps=max_episode_steps)


def refuse_limit(path: Path, max_episode_steps: int | None) -> None:
    """Raise ValueError for a time limit that is given for a format which always says where episodes end."""
    if max_episode_steps is not None:
        raise ValueError(f"{path}: says where its episodes end; give dataset.max_episode_steps=null")
