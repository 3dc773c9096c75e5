"""Columns in files that are mapped into memory, and what of the memory they take."""

import errno
import os
import subprocess
import sys
import textwrap
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import gymnasium as gym
import h5py
import numpy as np
import pytest
import torch

from bcq_exp.data import ReplayBuffer, Transitions, buffer, check_against, read_h5, storage, write_h5
from bcq_exp.data.frames import FrameStacks
from bcq_exp.data.mapping import held_bytes, in_files, should_map
from bcq_exp.data.storage import Pieces, chunks, is_large, is_mapped, mapped, new_mapped
from bcq_exp.data.transitions import MASKS, REQUIRED
from bcq_exp.training.identity import dataset_digest
from cases import random_walk

COLUMNS = REQUIRED + MASKS
BOX = gym.spaces.Box(-np.inf, np.inf, (3,))

# What processes under test begin with: `peak()` is the most anonymous memory that one has held at the same time, MiB.
WATCH = """
    import threading, time
    from pathlib import Path
    import numpy as np, torch
    from bcq_exp.data import ReplayBuffer, Transitions
    torch.set_num_threads(1)
    def anonymous():
        (line,) = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("RssAnon")]
        return int(line.split()[1]) / 1024
    before, most = anonymous(), [0]
    def watch():
        while True:
            most[0] = max(most[0], anonymous())
            time.sleep(0.01)
    threading.Thread(target=watch, daemon=True).start()
    def peak():
        return max(most[0], anonymous())
    def sparse(name, shape, dtype):
        return np.memmap(f"{folder}/{name}", dtype, "w+", shape=shape)
"""
has_proc = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="RssAnon is Linux's")


def measured(folder: Path, script: str) -> list[float]:
    """The numbers that a script prints, run in a process of its own that `WATCH` watches."""
    program = f"folder = {str(folder)!r}\n" + textwrap.dedent(WATCH) + textwrap.dedent(script)
    env = os.environ | {"BCQ_EXP_CACHE": str(folder / "cache"), "OMP_NUM_THREADS": "1"}
    env["PYTHONPATH"] = os.pathsep.join([str(Path(__file__).parents[2]), str(Path(__file__).parents[1])])
    run = subprocess.run([sys.executable, "-c", program], env=env, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    return [float(word) for word in run.stdout.split()]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("BCQ_EXP_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def everything_is_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage, "SHARE", 0.0)


def stacks() -> Transitions:
    """Four episodes of stacked frames, without and with black ones before them."""
    rng = np.random.default_rng(0)
    frames = rng.integers(256, size=(90, 6, 5), dtype=np.uint8)
    newest = np.arange(5, 85)
    made = random_walk(4, is_discrete=True)
    return replace(made, obs=FrameStacks(frames, newest, 4), obs_next=FrameStacks(frames, newest + ~made.terminated, 4))


DATA: dict[str, Callable[[], Transitions]] = {
    "continuous": lambda: random_walk(4, is_discrete=False),
    "next actions": lambda: replace(random_walk(4, is_discrete=False), act_next=np.ones((80, 1), np.float32)),
    "masks": lambda: replace(
        random_walk(4, is_discrete=True), mask=np.ones((80, 2), np.bool_), mask_next=np.eye(2, dtype=np.bool_)[[0] * 80]
    ),
    "stacks": stacks,
}


def test_a_mapped_array_is_a_file_without_a_name(cache: Path) -> None:
    column = mapped(np.arange(12.0).reshape(6, 2))
    assert column.tolist() == np.arange(12.0).reshape(6, 2).tolist()
    assert column.dtype == np.float64
    assert list(cache.iterdir()) == []
    assert mapped(column) is column


def test_views_of_mapped_arrays_are_mapped_and_copies_are_not() -> None:
    column = new_mapped((6, 2), np.float32)
    assert not column.any()
    assert all(map(is_mapped, (column, column[2:], np.asarray(column), column.reshape(-1)[::2])))
    assert not any(map(is_mapped, (np.array(column), column[[0, 1]], column + 1, column.astype(np.float64), [1], None)))


@pytest.mark.parametrize(("shape", "dtype"), [((1000, 3), np.float32), ((7,), np.bool_), ((3, 9000), np.uint8)])
def test_pieces_are_all_rows_in_order_and_of_a_bounded_size(
    shape: tuple[int, ...], dtype: type, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storage, "CHUNK", 120)
    column = np.zeros(shape, dtype)
    pieces = list(chunks(column))
    assert [row for piece in pieces for row in range(piece.start, piece.stop)] == list(range(shape[0]))
    assert all(column[piece].nbytes <= max(120, column[:1].nbytes) for piece in pieces)


def test_a_cache_that_cannot_hold_a_file_is_an_error(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match=r"cache folder .*: \d+.\d GB are needed, .* are free; set BCQ_EXP_CACHE"):
        new_mapped((10**12, 1000), np.float64)

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(ValueError, match=r"No space left on device; set BCQ_EXP_CACHE to a folder with room"):
        new_mapped((10,), np.float64)
    cache.rmdir()
    cache.touch()
    with pytest.raises(ValueError, match=r"cache folder .*cache: .*File exists"):
        new_mapped((10,), np.float64)


@pytest.mark.parametrize("name", DATA)
def test_columns_in_files_are_the_same_columns(name: str) -> None:
    made = DATA[name]()
    found = in_files(made)
    assert held_bytes(found) == held_bytes(made)
    assert dataset_digest(found) == dataset_digest(made)
    for key in COLUMNS:
        column = getattr(made, key)
        if column is None:
            assert getattr(found, key) is None
        else:
            np.testing.assert_array_equal(np.asarray(getattr(found, key)), np.asarray(column), strict=True)
    if isinstance(found.obs, FrameStacks):
        assert found.obs.frames is found.obs_next.frames
        assert is_mapped(found.obs.frames)
    else:
        assert is_mapped(found.obs)


def test_frames_that_are_shared_count_once() -> None:
    made = stacks()
    others = sum(getattr(made, key).nbytes for key in ("act", "rew", "terminated", "truncated"))
    assert held_bytes(made) == 90 * 30 + 2 * 80 * 8 + others


@pytest.mark.parametrize("name", DATA)
def test_a_buffer_on_files_gives_what_one_in_memory_gives(name: str) -> None:
    made = DATA[name]()
    here = ReplayBuffer.from_transitions(made, seed=1)
    there = ReplayBuffer.from_transitions(in_files(made), seed=1, stays_mapped=True)
    copied = ReplayBuffer.from_transitions(in_files(made), seed=1)
    for other in (there, copied):
        assert torch.equal(other.steps_to_end, here.steps_to_end)
        (found, rows), (expected, same) = other.sample(64), here.sample(64)
        assert torch.equal(rows, same)
        for window, reference in ((found, expected), (other.window(rows, 3), here.window(rows, 3))):
            assert list(window) == list(reference)
            for key, column in window.items():
                assert column.dtype == reference[key].dtype
                assert torch.equal(column, reference[key])
        here.seed(1)
    assert torch.equal(there.discounted_returns(0.9), here.discounted_returns(0.9))


@pytest.mark.parametrize("num_rows", [1, 3, 4, 7, 80])
def test_steps_to_the_end_do_not_depend_on_the_pieces(num_rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    made = random_walk(4, is_discrete=True)
    whole = ReplayBuffer.from_transitions(made).steps_to_end.tolist()
    assert whole == 4 * list(range(20, 0, -1))
    monkeypatch.setattr(buffer, "PIECE_ROWS", num_rows)
    assert ReplayBuffer.from_transitions(made).steps_to_end.tolist() == whole
    assert ReplayBuffer.from_transitions(in_files(made), stays_mapped=True).steps_to_end.tolist() == whole


def test_a_buffer_uses_files_where_they_are_only_if_it_is_told_to() -> None:
    made = in_files(random_walk(2, is_discrete=True))
    told, not_told = (ReplayBuffer.from_transitions(made, stays_mapped=flag) for flag in (True, False))
    made.rew[3] = 77
    assert (told.rew[3], not_told.rew[3] == 77) == (77, False)


def test_stacks_of_different_frames_are_refused() -> None:
    made = stacks()
    assert isinstance(made.obs, FrameStacks)
    for obs in (replace(made.obs, frames=made.obs.frames.copy()), np.asarray(made.obs)):
        with pytest.raises(ValueError, match="obs and obs_next must both be stacks of the same frames"):
            ReplayBuffer.from_transitions(replace(made, obs=obs))


def test_files_are_for_the_cpu() -> None:
    with pytest.raises(ValueError, match=r"device=meta: columns in files are for device=cpu"):
        ReplayBuffer.from_transitions(in_files(stacks()), "meta", stays_mapped=True)


def test_a_dataset_is_mapped_on_request_or_by_its_share_of_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    made = random_walk(2, is_discrete=True)
    assert [should_map(choice, made, "cpu") for choice in ("auto", "memory", "mmap")] == [False, False, True]
    total = storage.psutil.virtual_memory().total
    assert not is_large(int(storage.SHARE * total))
    assert is_large(int(storage.SHARE * total) + 1)
    monkeypatch.setattr(storage, "SHARE", (held_bytes(made) - 1) / total)
    assert should_map("auto", made, "cpu")
    assert not should_map("auto", made, "cuda")
    monkeypatch.setattr(storage, "SHARE", (held_bytes(made) + 1) / total)
    assert not should_map("auto", made, "cpu")


@pytest.mark.usefixtures("everything_is_large")
@pytest.mark.parametrize("name", ["continuous", "masks"])
def test_a_large_file_is_read_into_files(name: str, tmp_path: Path) -> None:
    made, path = DATA[name](), tmp_path / "data.h5"
    write_h5(path, made, "Env-v0", {})
    found = read_h5(path)
    for key in (key for key in COLUMNS if getattr(made, key) is not None):
        assert is_mapped(getattr(found, key)), key
        np.testing.assert_array_equal(getattr(found, key), getattr(made, key), strict=True)
    assert found.episode_returns.tolist() == made.episode_returns.tolist()


@pytest.mark.usefixtures("everything_is_large")
@pytest.mark.parametrize(("key", "value"), [("obs", np.nan), ("rew", np.inf), ("obs_next", -np.inf)])
def test_bad_rows_of_a_large_file_are_counted_over_all_pieces(
    key: str, value: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storage, "CHUNK", 64)
    path = tmp_path / "data.h5"
    write_h5(path, random_walk(4, is_discrete=False), "Env-v0", {})
    with h5py.File(path, "r+") as file:
        for row in (17, 41, 79):
            file[key][row] = value
    with pytest.raises(ValueError, match=rf"{key} row 17 is {value}; allowed: finite .* \(bad rows in all: 3\)"):
        read_h5(path)


@pytest.mark.usefixtures("everything_is_large")
def test_actions_of_a_large_file_are_checked_and_clipped_in_files(tmp_path: Path) -> None:
    made, path = random_walk(4, is_discrete=False), tmp_path / "data.h5"
    made.act[50] = 2.000001
    write_h5(path, made, "Env-v0", {})
    read = read_h5(path)
    found = check_against(read, BOX, gym.spaces.Box(-2, 2, (1,)), 32)
    assert is_mapped(found.act)
    np.testing.assert_array_equal(found.act, np.clip(made.act, -2, 2), strict=True)
    assert read.act[50] > 2, "the file that it was read into is as it was read"
    with pytest.raises(ValueError, match=r"act row \d+ is .*; allowed: \[-1\.\] to \[1\.\]"):
        check_against(read, BOX, gym.spaces.Box(-1, 1, (1,)), 32)


@has_proc
def test_reading_checking_and_sampling_leave_a_mapped_dataset_in_its_files(tmp_path: Path) -> None:
    script = """
        import gymnasium as gym
        from bcq_exp.data import check_against, storage
        from bcq_exp.data.mapping import in_files
        from bcq_exp.training.identity import dataset_digest
        storage.CHUNK = 2**22
        num = 2**19  # rows of 516 bytes: 258 MiB
        names = ("obs", "obs_next")
        columns = {name: sparse(name, (num, 60), np.float32) for name in names}
        columns["act"] = sparse("act", (num, 6), np.float32)
        columns["rew"] = sparse("rew", (num,), np.float32)
        columns |= {name: sparse(name, (num,), np.bool_) for name in ("terminated", "truncated")}
        columns["truncated"][9::10] = columns["truncated"][-1] = True
        made = Transitions.from_columns(columns, "sparse")
        made = check_against(made, gym.spaces.Box(-1, 1, (60,)), gym.spaces.Box(-1, 1, (6,)), 32)
        dataset_digest(made)
        made = in_files(made)
        buffer = ReplayBuffer.from_transitions(made, seed=0, stays_mapped=KEPT)
        for _ in range(300):
            buffer.sample(256)
        print(peak() - before)
    """
    ((mapped_mib,), (copied_mib,)) = (measured(tmp_path, script.replace("KEPT", kept)) for kept in ("True", "False"))
    assert mapped_mib < 100
    assert copied_mib > 258


@has_proc
@pytest.mark.slow
def test_sampling_from_20_gibibytes_stays_within_1_of_anonymous_memory(tmp_path: Path) -> None:
    script = """
        num = 7 * 2**24  # rows of 190 bytes: 20.8 GiB
        columns = {name: sparse(name, (num, 21), np.float32) for name in ("obs", "obs_next")}
        columns["act"] = sparse("act", (num, 4), np.float32)
        columns["rew"] = sparse("rew", (num,), np.float32)
        columns |= {name: sparse(name, (num,), np.bool_) for name in ("terminated", "truncated")}
        columns["truncated"][::1000] = True
        size = sum(column.nbytes for column in columns.values()) / 2**20
        made = Transitions(**columns, episode_returns=np.zeros(1), source="sparse")
        buffer = ReplayBuffer.from_transitions(made, seed=0, stays_mapped=True)
        for _ in range(100):
            batch, rows = buffer.sample(256)
            buffer.window(rows, 5)
        print(size, peak())
    """
    size, peak = measured(tmp_path, script)
    assert size > 20 * 1024
    assert peak < 1024


@has_proc
@pytest.mark.slow
@pytest.mark.parametrize(("choice", "most"), [("memory", 1.7), ("mmap", 0.6)])
def test_a_run_on_200_000_frames_stays_within_its_share_of_anonymous_memory(
    choice: str, most: float, tmp_path: Path
) -> None:
    script = f"""
        import gzip
        import gymnasium as gym
        import pixels
        from cases import job
        from bcq_exp.training.experiment import build
        num = 200_003
        for name, shape, dtype in (("observation", (num, 84, 84), np.uint8), ("action", (num,), np.int32),
                                   ("reward", (num,), np.float32), ("terminal", (num,), np.uint8)):
            column = sparse(name, shape, dtype)
            with gzip.open(f"{{folder}}/$store$_{{name}}_ckpt.0.gz", "wb", compresslevel=1) as file:
                np.lib.format.write_array_header_1_0(file, np.lib.format.header_data_from_array_1_0(column))
                for start in range(0, num, 10_000):
                    file.write(column[start : start + 10_000].tobytes())
        with gzip.open(f"{{folder}}/add_count_ckpt.0.gz", "wb") as file:
            np.save(file, np.array(num))
        class Black(pixels.Blocks):
            observation_space = gym.spaces.Box(0, 255, (4, 84, 84), np.uint8)
        gym.register("Black-v0", Black, max_episode_steps=5)
        typed = ("dataset=atari-replay", "dataset.game=Pong", f"dataset.path={{folder}}", "dataset.env=Black-v0",
                 "network=nature_cnn", "algorithm=discrete_bcq", "batch_size=32", "compile=never",
                 "storage={choice}", "num_threads=1")
        trainer = build([job(Path(folder) / "run", *typed)])
        trainer.population.advance(10)
        print(len(trainer.population.buffer), peak() / 1024)
    """
    num, peak = measured(tmp_path, script)
    assert num == 199_999
    assert peak < most


@pytest.mark.parametrize("is_in_file", [False, True])
def test_a_column_that_comes_in_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_in_file: bool) -> None:
    monkeypatch.setenv("BCQ_EXP_CACHE", str(tmp_path / "cache"))
    pieces = Pieces(is_mapped=is_in_file)
    for start, stop in ((0, 2), (2, 2), (2, 5)):
        pieces.append(np.arange(3 * start, 3 * stop, dtype=np.float32).reshape(-1, 3))
    column = pieces.joined()
    assert is_mapped(column) == is_in_file
    np.testing.assert_array_equal(column, np.arange(15, dtype=np.float32).reshape(5, 3), strict=True)
    assert is_in_file == (tmp_path / "cache").exists()


def test_a_piece_that_the_disk_has_no_room_for_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Full:
        dtype, shape = np.dtype(np.float32), (3,)

        def __len__(self) -> int:
            return 3

        def tofile(self, file: object) -> None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setenv("BCQ_EXP_CACHE", str(tmp_path))
    with pytest.raises(ValueError, match=f"cache folder {tmp_path}: .*No space left.*; set BCQ_EXP_CACHE"):
        Pieces(is_mapped=True).append(Full())  # type: ignore[arg-type]
