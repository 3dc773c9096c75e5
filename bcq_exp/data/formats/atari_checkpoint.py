"""Checkpoints of the replay memory of Dopamine, which logged the DQN-replay datasets (arXiv:1907.04543).

A checkpoint N is a folder's files `$store$_observation_ckpt.N.gz`, `$store$_action_ckpt.N.gz`,
`$store$_reward_ckpt.N.gz`, `$store$_terminal_ckpt.N.gz` and `add_count_ckpt.N.gz`, each a gzip'd `.npy`. Row t has the
frame, the action taken then, the reward that followed, clipped to [-1, 1], and whether the episode ended by it. Each
episode begins behind three blank rows, so that the last four frames of any of its rows are a stack
(`dopamine/replay_memory/circular_replay_buffer.py` and `batch_rl/baselines/replay_memory/logged_replay_buffer.py`).
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bcq_exp.data.columns import Array, as_act, as_flag, as_float
from bcq_exp.data.formats.npy import read_gzipped, read_gzipped_header

NAMES = {"act": "$store$_action", "rew": "$store$_reward", "terminated": "$store$_terminal"}
FRAMES, COUNT = "$store$_observation", "add_count"
KEYS = {"obs": "observation", "act": "action", "rew": "reward", "terminated": "terminal"}
STACK = 4  # frames of an observation; the memory has one blank row less before each episode


@dataclass(frozen=True)
class Checkpoint:
    """The checked rows of one checkpoint, those of its own round of the memory only.

    Args:
        frames_file: the gzip'd frames.
        shape: of a frame.
        act: (T,) int64.
        rew: (T,) float32.
        terminal: (T,) bool.
    """

    frames_file: Path
    shape: tuple[int, ...]
    act: Array
    rew: Array
    terminal: Array

    def __len__(self) -> int:
        return len(self.rew)

    @property
    def is_blank(self) -> Array:
        """Whether a row lies between two episodes, (T,) bool."""
        is_blank = np.zeros(len(self), np.bool_)
        for distance in range(1, STACK):
            is_blank[distance:] |= self.terminal[:-distance]
        return is_blank


def check_choice(checkpoints: Any) -> None:
    """Raise ValueError unless it is a fraction of the checkpoints or a list of their numbers."""
    if isinstance(checkpoints, float) and 0 < checkpoints <= 1:
        return
    is_list = isinstance(checkpoints, list) and checkpoints
    if not is_list or not all(type(number) is int and number >= 0 for number in checkpoints):
        raise ValueError(
            f"checkpoints={checkpoints}; allowed: a fraction of them, above 0.0 to 1.0, or their numbers, as in [0, 1]"
        )


def choose(folder: Path, checkpoints: float | Sequence[int]) -> list[int]:
    """The numbers of the checkpoints to read; arguments and errors as for `load_atari_replay`."""
    pattern = re.compile(re.escape(FRAMES) + r"_ckpt\.(\d+)\.gz")
    numbers = sorted(int(match[1]) for path in folder.glob("*.gz") if (match := pattern.fullmatch(path.name)))
    if not numbers:
        names = ", ".join(_file(folder, name, "N").name for name in (FRAMES, *NAMES.values(), COUNT))
        inside = next(folder.rglob(f"{FRAMES}_ckpt.*.gz"), None) if folder.is_dir() else None
        hint = f"; there are some in {inside.parent}" if inside is not None else ""
        raise ValueError(f"{folder}: no checkpoint here; expected files: {names}{hint}")
    if isinstance(checkpoints, float):
        num = max(1, round(checkpoints * len(numbers)))
        return [numbers[(2 * i + 1) * len(numbers) // (2 * num)] for i in range(num)]
    if missing := sorted(set(checkpoints) - set(numbers)):
        raise ValueError(
            f"{folder}: no {_file(folder, FRAMES, missing[0]).name}; checkpoints here: {', '.join(map(str, numbers))}"
        )
    return sorted(set(checkpoints))


def read_checkpoint(folder: Path, number: int) -> Checkpoint:
    """Read and check all of a checkpoint but its frames.

    The memory is a ring. Rows before its cursor are of the round that this checkpoint closes; the rows behind it are of
    the round before, so they are in the checkpoint before, too, and left out here. They are one row, except in the last
    checkpoint of a run.

    Raises:
        FileNotFoundError, ValueError: as `load_atari_replay`.
    """
    files = {key: _file(folder, name, number) for key, name in NAMES.items()}
    frames_file, count_file = _file(folder, FRAMES, number), _file(folder, COUNT, number)
    for path in (*files.values(), count_file):
        if not path.exists():
            names = ", ".join((FRAMES, *NAMES.values(), COUNT))
            raise FileNotFoundError(f"{path}: no such file; a checkpoint has {names}")
    columns = {key: read_gzipped(path) for key, path in files.items()}
    shape, dtype = read_gzipped_header(frames_file)
    if dtype != np.uint8 or len(shape) != 3 or 0 in shape:
        raise ValueError(f"{frames_file}: {dtype} {shape}; allowed: uint8 (T, height, width)")
    lengths = {path: columns[key].shape for key, path in files.items()}
    for path, length in lengths.items():
        if length != shape[:1]:
            raise ValueError(f"{path}: shape {length}; {frames_file.name} beside it has {shape[0]} rows")
    count = read_gzipped(count_file)
    if count.shape != () or count.dtype.kind not in "iu" or count < 1:
        raise ValueError(f"{count_file}: {count.dtype} {count.shape}; allowed: one integer, at least 1")
    num_rows = int(count) % shape[0] or shape[0]
    if num_rows <= STACK:
        raise ValueError(f"{count_file}: {int(count)} leaves {num_rows} rows; more than {STACK} are needed")

    used = {key: column[:num_rows] for key, column in columns.items()}
    checkpoint = Checkpoint(
        frames_file,
        shape[1:],
        as_act(used["act"], KEYS["act"], str(files["act"]), is_discrete=True),
        as_float(used["rew"], KEYS["rew"], str(files["rew"]), (1,), "(T,)"),
        as_flag(used["terminated"], KEYS["terminated"], str(files["terminated"])),
    )
    is_blank = checkpoint.is_blank
    for key, column in (("terminated", checkpoint.terminal), ("act", checkpoint.act), ("rew", checkpoint.rew)):
        check_blank(column != 0, is_blank, files[key], 0)
    return checkpoint


def check_blank(is_set: Array, is_blank: Array, path: Path, first_row: int) -> None:
    """Raise ValueError for the first row that is set, but has to be blank; `first_row` is that of the flags."""
    if (bad := np.flatnonzero(is_set & is_blank)).size:
        raise ValueError(
            f"{path}: row {first_row + bad[0]} is not 0, less than {STACK} rows behind the end of an episode; there the"
            f" layout has {STACK - 1} rows of zeros"
        )


def _file(folder: Path, name: str, number: int | str) -> Path:
    return folder / f"{name}_ckpt.{number}.gz"
