"""The DQN-replay datasets of Atari games (arXiv:1907.04543), which lie in checkpoints of Dopamine's replay memory."""

import csv
import hashlib
import json
import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import IO, Any, ClassVar

import numpy as np
from filelock import FileLock

from bcq_exp.data.columns import Array
from bcq_exp.data.formats import npy
from bcq_exp.data.formats.atari_checkpoint import (
    FRAMES,
    KEYS,
    STACK,
    Checkpoint,
    check_blank,
    check_choice,
    choose,
    read_checkpoint,
)
from bcq_exp.data.formats.file_format import FileFormat, refuse_limit
from bcq_exp.data.frames import FrameStacks
from bcq_exp.data.schema import DatasetConfig, raised, required_text
from bcq_exp.data.storage import CHUNK
from bcq_exp.data.transitions import Transitions
from bcq_exp.fields import within
from bcq_exp.io.files import cache_folder, replacing

MAX_EPISODE_STEPS = 27_000  # of the published recordings (dopamine/agents/dqn/configs/dqn.gin)
CACHE_VERSION = 1  # part of the cache file's name; raised when frames are unpacked otherwise

log = logging.getLogger(__name__)


@dataclass(kw_only=True)
class AtariReplayDatasetConfig(DatasetConfig):
    """A DQN-replay dataset of an Atari game; `env` and references that are null are those of the game.

    `checkpoints` and `max_episode_steps` are as for `load_atari_replay`.
    """

    is_reward_clipped: ClassVar[bool] = True

    game: str
    path: str
    checkpoints: Any
    max_episode_steps: int | None = within(2)

    @classmethod
    def facts(cls, section: Mapping[str, Any]) -> dict[str, Any]:
        """The environment of the game, and its scores where they are known."""
        game = required_text(section, "game", "Pong")
        low, high = scores().get(game, (None, None))
        return {"env": f"ALE/{game}-v5", "ref_min": low, "ref_max": high}

    def read(self, *, allow_code_change: bool = False) -> Transitions:
        """See `load_atari_replay`."""
        return load_atari_replay(self.path, checkpoints=self.checkpoints, max_episode_steps=self.max_episode_steps)

    def errors(self) -> list[str]:
        """See `DatasetConfig.errors` and `check_choice`."""
        return super().errors() + raised(lambda: check_choice(self.checkpoints))


class AtariReplay(FileFormat):
    """Folders of checkpoints, all of which are read."""

    title = "DQN replay"
    content = "a folder with $store$_observation_ckpt.N.gz and so on"
    note = "Atari's frames; no masks"

    def matches(self, path: Path, head: bytes) -> bool:
        """Whether a folder has frames of a checkpoint, be it with other files missing."""
        return any(path.glob(f"{FRAMES}_ckpt.*.gz"))

    def read(self, path: Path, max_episode_steps: int | None) -> Transitions:
        """See `load_atari_replay`; the time limit is that of the published recordings."""
        refuse_limit(path, max_episode_steps)
        return load_atari_replay(path, checkpoints=1.0, max_episode_steps=MAX_EPISODE_STEPS)


@cache
def scores() -> dict[str, tuple[float, float]]:
    """Random and human score of games, by name (doi:10.1038/nature14236, Extended Data Table 2)."""
    with Path(__file__).with_name("atari_scores.csv").open(encoding="utf-8", newline="") as file:
        return {row["game"]: (float(row["random"]), float(row["human"])) for row in csv.DictReader(file)}


def load_atari_replay(
    folder: str | Path, *, checkpoints: float | Sequence[int], max_episode_steps: int | None
) -> Transitions:
    """Read and check checkpoints; their frames are unpacked once, into a memory-mapped file of the cache.

    The transitions are those that Dopamine samples: rows whose stack is of one episode and which have a next frame. The
    first three rows of a checkpoint serve as frames only. An episode that continues behind the last row is truncated.

    The memory has no flag for time limits. An episode of `max_episode_steps` rows ended by one: its last row, which has
    no next frame, is dropped, and the row before it is truncated. `episode_returns` are sums of clipped rewards over
    the episodes that are there as a whole, or, without any, over all.

    Args:
        folder: where the files lie; `.../Pong/1/replay_logs` in the published layout.
        checkpoints: a list of their numbers, or a fraction of those in the folder, evenly spread, at least one.
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
    of_parts = [_steps(part, frames[start : start + STACK], start) for part, start in zip(parts, starts, strict=False)]
    column = {key: np.concatenate([steps[key] for steps in of_parts]) for key in of_parts[0]}

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
    """The columns of a checkpoint's rows that have a stack of frames.

    Args:
        part: the checkpoint.
        first_frames: its first `STACK` frames.
        start: place of its first frame among the frames of all checkpoints.

    Returns:
        Columns of `typed`, `obs` being the place of a stack's last frame; and `is_whole`, whether a row's episode began
        in this checkpoint.
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


def unpacked(parts: Sequence[Checkpoint]) -> Array:
    """The frames of consecutive checkpoints, (T, H, W) uint8, from a mapped file of the cache, which is made first.

    The file's name holds a hash of the gzip'd files' paths, sizes and dates.

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
    with npy.opened_gzip(part.frames_file) as file:
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
