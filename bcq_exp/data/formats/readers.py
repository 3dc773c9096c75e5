"""Registry of the formats that datasets are read from, each told by the content of its files."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from bcq_exp.data.formats import foreign
from bcq_exp.data.formats.atari_replay import AtariReplay
from bcq_exp.data.formats.d3rlpy import D3rlpy2
from bcq_exp.data.formats.file_format import FileFormat
from bcq_exp.data.formats.h5 import OwnHDF5
from bcq_exp.data.formats.hdf5 import HDF5
from bcq_exp.data.formats.minari import Minari
from bcq_exp.data.formats.npz import Npz
from bcq_exp.data.schema import DatasetConfig
from bcq_exp.data.transitions import Transitions
from bcq_exp.fields import within

NPZ, HDF5_FILE = Npz(), HDF5()
# The first that matches is taken: any folder matches Minari, any HDF5 file HDF5.
FORMATS: tuple[FileFormat, ...] = (AtariReplay(), Minari(), D3rlpy2(), OwnHDF5(), NPZ, HDF5_FILE)


@dataclass(kw_only=True)
class H5DatasetConfig(DatasetConfig):
    """A file or folder in any format of `FORMATS`; `max_episode_steps` is as for `read_transitions`."""

    later_keys = {**DatasetConfig.later_keys, "max_episode_steps": None}  # noqa: RUF012

    path: str
    max_episode_steps: int | None = within(0)

    def read(self, *, allow_code_change: bool = False) -> Transitions:
        """See `read_transitions`."""
        return read_transitions(self.path, self.max_episode_steps)

    def errors(self) -> list[str]:
        """See `DatasetConfig.errors`; a time limit of one step, which leaves no next observation, is one, too."""
        errors = super().errors()
        if self.max_episode_steps == 1:
            errors.append("max_episode_steps=1 is below 2; allowed: null, 2 and more, or 0 for none")
        return errors


def read_transitions(path: str | Path, max_episode_steps: int | None = None) -> Transitions:
    """Read and check a dataset in any of `FORMATS`, by its content.

    Whatever the format, columns become transitions by the rules of `typed` and `as_transitions`.

    Args:
        path: the file or folder; of a folder of DQN-replay checkpoints all are read.
        max_episode_steps: length of the time limit, for a file of columns that says in no other way where it struck; 0
            if there was none.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the format is unknown, the file damaged, or a value bad (naming file, key and first bad row).
    """
    transitions = format_of(Path(path)).read(Path(path), max_episode_steps)
    return transitions if transitions.rows is not None else replace(transitions, rows=np.arange(len(transitions)))


def format_of(path: Path) -> FileFormat:
    """The format of a file or folder; a file that says nothing of itself is taken for what its suffix names.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is of a kind that is not read, with what to do about it.
    """
    head = b"" if path.is_dir() else foreign.head(path)
    for format_ in FORMATS:
        if format_.matches(path, head):
            return format_
    foreign.refuse(path, head)
    return NPZ if path.suffix == ".npz" else HDF5_FILE
