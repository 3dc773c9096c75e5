"""The DQN-replay datasets of Atari games (arXiv:1907.04543), as the replay memory of Dopamine logged them.

A checkpoint N is a folder's files `$store$_observation_ckpt.N.gz`, `$store$_action_ckpt.N.gz`,
`$store$_reward_ckpt.N.gz`, `$store$_terminal_ckpt.N.gz` and `add_count_ckpt.N.gz`, each a gzip'd `.npy`. Row t has the
frame, the action taken then, the reward that followed, clipped to [-1, 1], and whether the episode ended by it. Each
episode begins behind three blank rows, so that the last four frames of any of its rows are a stack
(`dopamine/replay_memory/circular_replay_buffer.py` and `batch_rl/baselines/replay_memory/logged_replay_buffer.py`).
"""

import csv
import hashlib
import json
import logging
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import IO, Any

import numpy as np
from filelock import FileLock

from bcq_exp.data.columns import Array, as_act, as_flag, as_float
from bcq_exp.data.formats import npy
from bcq_exp.data.formats.npy_gz import opened, read_array, read_header
from bcq_exp.data.frames import FrameStacks
from bcq_exp.data.storage import CHUNK
from bcq_exp.data.transitions import Transitions
from bcq_exp.io.files import cache_folder, replacing

NAMES = {"act": "$store$_action", "rew": "$store$_reward", "terminated": "$store$_terminal"}
FRAMES, COUNT = "$store$_observation", "add_count"
KEYS = {"obs": "observation", "act": "action", "rew": "reward", "terminated": "terminal"}
STACK = 4  # frames of an observation; the memory has one blank row less before each episode
MAX_EPISODE_STEPS = 27_000  # of the published recordings (dopamine/agents/dqn/configs/dqn.gin)
CACHE_VERSION = 1  # of how frames are unpacked: part of the cache file's name

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Checkpoint:
    """The checked rows of one checkpoint that its own round of the memory wrote.

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
        """Whether a row stands behind an episode's last one, before the next episode's first, (T,) bool."""
        found = np.zeros(len(self), np.bool_)
        for distance in range(1, STACK):
            found[distance:] |= self.terminal[:-distance]
        return found


@cache
def scores() -> dict[str, tuple[float, float]]:
    """Random and human score of games, by name (doi:10.1038/nature14236, Extended Data Table 2)."""
    with Path(__file__).with_name("atari_scores.csv").open(encoding="utf-8", newline="") as file:
        return {row["game"]: (float(row["random"]), float(row["human"])) for row in csv.DictReader(file)}


def load_atari_replay(
    folder: str | Path, *, checkpoints: float | Sequence[int], max_episode_steps: int | None
) -> Transitions:
    """Read and check checkpoints; their frames are unpacked once, into a memory-mapped file of the cache.

    What Dopamine samples is what becomes a transition: rows whose stack is of one episode and which have a next frame.
    The first three rows of a checkpoint only serve as frames, and an episode that goes on behind its last row is
    truncated. The memory has no flag for time limits: an episode of `max_episode_steps` rows ended by one, so its last
    row is dropped, as it has no next frame, and the row before it is truncated. `episode_returns`, of clipped rewards,
    are those of episodes that are there from beginning to end, if any are.

    Args:
        folder: where the files lie; `.../Pong/1/replay_logs` in the published layout.
        checkpoints: their numbers, or which fraction of those in the folder, spread evenly, at least one.
        max_episode_steps: length of the time limit; None where there was none.

    Raises:
        FileNotFoundError: a file of a checkpoint is missing.
        ValueError: a file is damaged, of another length than its neighbours, or holds bad values; the message names it.
    """
    folder = Path(folder)
    numbers = choose(folder, checkpoints)
    parts = [read_checkpoint(folder, number) for number in numbers]
    if len({part.shape for part in parts}) > 1:
        raise ValueError(f"{folder}: frames differ in shape: {', '.join(str(part.shape) for part in parts)}")
    frames = unpacked(parts)
    starts = np.cumsum([0, *map(len, parts)])
    found = [_steps(part, frames[start : start + STACK], start) for part, start in zip(parts, starts, strict=False)]
    column = {key: np.concatenate([steps[key] for steps in found]) for key in found[0]}

    last = np.flatnonzero(column["ends"])
    is_whole_E = column["is_whole"][last]
    is_at_limit_E = is_whole_E & (np.diff(last, prepend=-1) == max_episode_steps)
    is_counted_E = is_whole_E & column["terminated"][last]
    column["terminated"][last[is_at_limit_E]] = False
    source = f"{folder}, checkpoints {', '.join(map(str, numbers))} one behind the other"
    kept = ("obs", "act", "rew", "terminated", "ends")
    steps = Transitions.from_typed({key: column[key] for key in kept}, source, KEYS)
    assert steps.rows is not None
    return replace(
        steps,
        obs=FrameStacks(frames, np.asarray(steps.obs), STACK),
        obs_next=FrameStacks(frames, np.asarray(steps.obs_next), STACK),
        episode_returns=steps.episode_returns[is_counted_E] if is_counted_E.any() else steps.episode_returns,
        rows=column["obs"][steps.rows],
    )


def _steps(part: Checkpoint, first_frames: Array, start: int) -> dict[str, Array]:
    """The rows of a checkpoint that have a stack of frames; `obs` is the place of its last frame, from `start` on.

    `is_whole` says of a row whether its episode began in this checkpoint.
    """
    is_step, head = ~part.is_blank, slice(STACK - 1)
    is_step[head] = False
    rows = np.flatnonzero(is_step)
    ends = part.terminal[rows]
    ends[-1:] = True
    begins_blank = not (first_frames[head].any() or part.act[head].any() or part.rew[head].any())
    first_end = -1 if begins_blank else np.argmax(np.append(part.terminal, True))
    return {
        "obs": start + rows,
        "act": part.act[rows],
        "rew": part.rew[rows],
        "terminated": part.terminal[rows],
        "ends": ends,
        "is_whole": rows > first_end,
    }


def is_atari_replay(folder: str | Path) -> bool:
    """Whether a folder has frames of a checkpoint, be it with other files missing."""
    return any(Path(folder).glob(f"{FRAMES}_ckpt.*.gz"))


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
    found = sorted(int(match[1]) for path in folder.glob("*.gz") if (match := pattern.fullmatch(path.name)))
    if not found:
        names = ", ".join(_file(folder, name, "N").name for name in (FRAMES, *NAMES.values(), COUNT))
        inside = next(folder.rglob(f"{FRAMES}_ckpt.*.gz"), None) if folder.is_dir() else None
        hint = f"; there are some in {inside.parent}" if inside is not None else ""
        raise ValueError(f"{folder}: no checkpoint here; expected files: {names}{hint}")
    if isinstance(checkpoints, float):
        num = max(1, round(checkpoints * len(found)))
        return [found[(2 * i + 1) * len(found) // (2 * num)] for i in range(num)]
    if missing := sorted(set(checkpoints) - set(found)):
        raise ValueError(
            f"{folder}: no {_file(folder, FRAMES, missing[0]).name}; checkpoints here: {', '.join(map(str, found))}"
        )
    return sorted(set(checkpoints))


def read_checkpoint(folder: Path, number: int) -> Checkpoint:
    """Read and check all of a checkpoint but its frames.

    Of the memory's rows those before its cursor are of the round that the checkpoint closes; the others, one in all but
    the last checkpoint of a run, are of the round before, and in the checkpoint before too.

    Raises:
        FileNotFoundError, ValueError: as `load_atari_replay`.
    """
    files = {key: _file(folder, name, number) for key, name in NAMES.items()}
    frames_file, count_file = _file(folder, FRAMES, number), _file(folder, COUNT, number)
    for path in (*files.values(), count_file):
        if not path.exists():
            names = ", ".join((FRAMES, *NAMES.values(), COUNT))
            raise FileNotFoundError(f"{path}: no such file; a checkpoint has {names}")
    columns = {key: read_array(path) for key, path in files.items()}
    shape, dtype = read_header(frames_file)
    if dtype != np.uint8 or len(shape) != 3 or 0 in shape:
        raise ValueError(f"{frames_file}: {dtype} {shape}; allowed: uint8 (T, height, width)")
    lengths = {path: columns[key].shape for key, path in files.items()}
    for path, found in lengths.items():
        if found != shape[:1]:
            raise ValueError(f"{path}: shape {found}; {frames_file.name} beside it has {shape[0]} rows")
    count = read_array(count_file)
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


def unpacked(parts: Sequence[Checkpoint]) -> Array:
    """The frames of checkpoints one behind the other, (T, H, W) uint8, in a mapped file that is made where it is not.

    Its name holds a hash of the gzip'd files' places, sizes and dates.

    Raises:
        ValueError: a file is damaged, has frames where it should be blank, or the cache cannot be written.
    """
    stats = [(str(part.frames_file.resolve()), part.frames_file.stat(), len(part)) for part in parts]
    origin = [CACHE_VERSION, *((name, stat.st_size, stat.st_mtime_ns, num) for name, stat, num in stats)]
    key = hashlib.sha256(json.dumps(origin).encode()).hexdigest()[:12]
    path, shape = cache_folder() / f"atari-frames-{key}.npy", (sum(map(len, parts)), *parts[0].shape)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{path}.lock"):
            if not path.exists():
                log.info("unpacking %d frames, %.1f GB, into %s", shape[0], np.prod(shape) / 1e9, path)
                with replacing(path) as partial, partial.open("wb") as out:
                    header = {"descr": "|u1", "fortran_order": False, "shape": shape}
                    np.lib.format.write_array_header_1_0(out, header)
                    for part in parts:
                        _unpack(part, out)
        frames: Array = np.load(path, mmap_mode="c")  # private: no write of this process reaches the file
    except OSError as error:
        raise ValueError(f"cache file {path}: {error}; set BCQ_EXP_CACHE to a folder that can be written") from None
    except ValueError as error:
        if path.exists():
            raise ValueError(f"cache file {path} is not as it was written ({error}); remove it") from None
        raise
    return frames


def _unpack(part: Checkpoint, out: IO[bytes]) -> None:
    is_blank, size = part.is_blank, math.prod(part.shape)
    with opened(part.frames_file) as file:
        npy.read_header(file)
        for start in range(0, len(part), max(1, CHUNK // size)):
            flags = is_blank[start : start + max(1, CHUNK // size)]
            content = file.read(len(flags) * size)
            if len(content) < len(flags) * size:
                raise EOFError("fewer frames than its header says")
            frames: Array = np.frombuffer(content, np.uint8).reshape(len(flags), size)
            check_blank(np.asarray(frames.any(axis=1)), flags, part.frames_file, start)
            out.write(content)
        while file.read(CHUNK):  # to its end, where the checksum stands
            pass


def _file(folder: Path, name: str, number: int | str) -> Path:
    return folder / f"{name}_ckpt.{number}.gz"
