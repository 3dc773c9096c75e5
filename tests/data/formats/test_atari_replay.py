"""The reader of DQN-replay checkpoints, on files that a replay memory writes here as Dopamine's does."""

import gzip
import io
import pickle
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from bcq_exp.analysis.datasets.convert import convert
from bcq_exp.analysis.datasets.inspection import inspect, plot
from bcq_exp.analysis.datasets.sources import Source
from bcq_exp.data import Transitions, read_transitions
from bcq_exp.data.formats.atari_checkpoint import choose
from bcq_exp.data.formats.atari_replay import MAX_EPISODE_STEPS, load_atari_replay, scores
from cases import composed

SHAPE, CAPACITY = (6, 5), 40
LENGTHS = (9, 12, 5, 1, 14, 7, 30, 2, 13, 6)  # of episodes; with the blank rows 129: three rounds and a bit
LIMIT = 12
FILES = ("$store$_observation", "$store$_action", "$store$_reward", "$store$_terminal", "add_count")


def frame(episode: int, step: int) -> NDArray[np.uint8]:
    """A frame that tells its episode and step."""
    return np.full(SHAPE, (1 + episode, 1 + step, 200, 201, 202), np.uint8)


def action(episode: int, step: int) -> int:
    return (episode + step) % 3


def reward(episode: int, step: int) -> float:
    return float((3 * episode + step) % 3 - 1)


def stack(episode: int, step: int) -> NDArray[np.uint8]:
    """The last four frames of an episode's step, black before its first."""
    return np.stack([frame(episode, s) if s >= 0 else np.zeros(SHAPE, np.uint8) for s in range(step - 3, step + 1)])


class Memory:
    """A circular memory that is logged each time but one row of it is new, and at the end if it has other rows then."""

    def __init__(self, folder: Path, lengths: tuple[int, ...]) -> None:
        self.folder, self.count, self.num_logged = folder, 0, 0
        folder.mkdir(parents=True)
        self.store = {
            "observation": np.full((CAPACITY, *SHAPE), 255, np.uint8),
            "action": np.full(CAPACITY, 9, np.int32),
            "reward": np.full(CAPACITY, np.nan, np.float32),
            "terminal": np.full(CAPACITY, 7, np.uint8),
        }
        for episode, length in enumerate(lengths):
            for _ in range(3):
                self.add(np.zeros(SHAPE, np.uint8), 0, 0.0, 0)
            for step in range(length):
                self.add(frame(episode, step), action(episode, step), reward(episode, step), int(step == length - 1))
                if self.count % CAPACITY == CAPACITY - 1:
                    self.log(self.count)
        if self.count % CAPACITY != CAPACITY - 1:
            self.log(self.count % CAPACITY)

    def add(self, *row: Any) -> None:
        for column, value in zip(self.store.values(), row, strict=True):
            column[self.count % CAPACITY] = value
        self.count += 1

    def log(self, count: int) -> None:
        for name, column in self.store.items():
            write(self.folder / f"$store$_{name}_ckpt.{self.num_logged}.gz", column)
        write(self.folder / f"add_count_ckpt.{self.num_logged}.gz", np.array(count))
        self.num_logged += 1


def write(path: Path, array: NDArray[Any]) -> None:
    with gzip.open(path, "wb", compresslevel=1) as file:
        np.save(file, array, allow_pickle=True)


def read(folder: Path, number: int, name: str) -> NDArray[Any]:
    with gzip.open(folder / f"{name}_ckpt.{number}.gz") as file:
        return np.load(file)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    root = tmp_path_factory.mktemp("replay")
    Memory(root / "logs", LENGTHS)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BCQ_EXP_CACHE", str(root / "cache"))
        yield root / "logs"


def load(folder: Path, *numbers: int, limit: int | None = None) -> Transitions:
    return load_atari_replay(folder, checkpoints=list(numbers), max_episode_steps=limit)


def slow(folder: Path, number: int) -> list[tuple[int, int, bool, bool]]:
    """Episode, step and flags of each transition, by the rules of sampling, row after row."""
    obs, terminal = (read(folder, number, f"$store$_{name}") for name in ("observation", "terminal"))
    found = []
    end = int(read(folder, number, "add_count")) % CAPACITY
    for row in range(3, end):
        if any(terminal[row - 3 : row]) or (row + 1 == end and not terminal[row]):
            continue
        episode, step = (int(value) - 1 for value in obs[row, 0, :2])
        found.append((episode, step, bool(terminal[row]), row + 2 == end and not terminal[row : row + 2].any()))
    return found


def steps_of(transitions: Transitions) -> list[tuple[int, int, bool, bool]]:
    newest = np.asarray(transitions.obs)[:, -1, 0, :2].astype(int) - 1
    return [
        (episode, step, bool(terminated), bool(truncated))
        for (episode, step), terminated, truncated in zip(
            newest.tolist(), transitions.terminated, transitions.truncated, strict=True
        )
    ]


@pytest.mark.parametrize("numbers", [(0,), (1,), (2,), (3,), (0, 1), (0, 1, 2, 3), (0, 3)])
def test_transitions_are_those_of_a_slow_loop(folder: Path, numbers: tuple[int, ...]) -> None:
    found = load(folder, *numbers)
    assert steps_of(found) == [row for number in numbers for row in slow(folder, number)]


def test_stacks_are_of_one_episode_and_black_before_its_first_frame(folder: Path) -> None:
    found = load(folder, 0, 1, 2, 3)
    assert found.obs.shape == (len(found), 4, *SHAPE)
    for row, (episode, step, terminated, _) in enumerate(steps_of(found)):
        assert np.array_equal(found.obs[row], stack(episode, step))
        assert np.array_equal(found.obs_next[row], stack(episode, step if terminated else step + 1))
        assert (found.act[row], found.rew[row]) == (action(episode, step), reward(episode, step))


def test_returns_are_those_of_whole_episodes(folder: Path) -> None:
    rows = [(episode, step) for number in range(4) for episode, step, *_ in slow(folder, number)]
    whole = [
        sum(reward(episode, step) for step in range(length))
        for episode, length in enumerate(LENGTHS)
        if all((episode, step) in rows for step in range(length))
    ]
    assert 4 <= len(whole) < len(LENGTHS)
    assert load(folder, 0, 1, 2, 3).episode_returns.tolist() == whole


def test_where_no_episode_is_whole_returns_are_those_of_the_parts(tmp_path: Path, folder: Path) -> None:
    del folder  # its cache
    Memory(tmp_path / "logs", (50, 50))
    first = load(tmp_path / "logs", 0)
    assert not first.terminated.any()
    assert first.episode_returns.tolist() == [sum(reward(0, step) for step in range(36))]


def test_an_episode_as_long_as_the_time_limit_is_truncated(folder: Path) -> None:
    numbers = range(4)
    without, found = (steps_of(load(folder, *numbers, limit=limit)) for limit in (None, LIMIT))
    (episode,) = (index for index, length in enumerate(LENGTHS) if length == LIMIT)
    assert (episode, LIMIT - 1, True, False) in without
    expected = [row for row in without if row != (episode, LIMIT - 1, True, False)]
    expected[expected.index((episode, LIMIT - 2, False, False))] = (episode, LIMIT - 2, False, True)
    assert found == expected
    limited = load(folder, *numbers, limit=LIMIT)
    assert limited.episode_returns.tolist() == load(folder, *numbers).episode_returns.tolist()


def test_frames_are_unpacked_once_and_kept_once(folder: Path) -> None:
    first, again = load(folder, 1), load(folder, 1)
    assert first.obs.frames is first.obs_next.frames
    assert first.obs.frames.shape == (CAPACITY - 1, *SHAPE)
    (file,) = {stacks.frames.filename for stacks in (first.obs, again.obs)}
    assert Path(file).stat().st_size == 128 + (CAPACITY - 1) * 30
    written = Path(file).stat().st_mtime_ns
    load(folder, 1)
    assert Path(file).stat().st_mtime_ns == written


def test_a_checkpoint_that_was_replaced_is_unpacked_anew(tmp_path: Path, folder: Path) -> None:
    del folder
    logs = tmp_path / "logs"
    Memory(logs, LENGTHS)
    before = np.asarray(load(logs, 0).obs)
    frames = read(logs, 0, "$store$_observation")
    write(logs / "$store$_observation_ckpt.0.gz", np.where(frames == 200, 100, frames))
    after = np.asarray(load(logs, 0).obs)
    assert np.array_equal(after, np.where(before == 200, 100, before))


def test_a_cache_file_that_was_cut_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    monkeypatch.setenv("BCQ_EXP_CACHE", str(tmp_path))
    load(folder, 0)
    (cached,) = tmp_path.glob("*.npy")
    cached.write_bytes(cached.read_bytes()[:-1])
    with pytest.raises(ValueError, match=rf"cache file {cached} is not as it was written .*; remove it"):
        load(folder, 0)


def test_a_recording_is_converted_to_the_projects_own_layout(folder: Path, tmp_path: Path) -> None:
    assert convert(Source(folder), tmp_path / "data.h5", "Some-v0") == (len(load(folder, 0, 1, 2, 3)), {})
    found, expected = read_transitions(tmp_path / "data.h5"), read_transitions(folder)
    assert steps_of(expected) == steps_of(load(folder, 0, 1, 2, 3))
    for name in ("obs", "act", "rew", "terminated", "truncated", "obs_next", "episode_returns"):
        assert np.array_equal(getattr(found, name), np.asarray(getattr(expected, name)))


def test_a_recording_is_inspected_by_its_frames(folder: Path, tmp_path: Path) -> None:
    found = load(folder, 0)
    whole = replace(found, obs=np.asarray(found.obs), obs_next=np.asarray(found.obs_next))
    assert inspect(found, {}).facts == inspect(whole, {}).facts
    assert inspect(found, {}).facts["observation"] == "uint8 (4, 6, 5), 0 to 202"
    plot(found, tmp_path / "plot.png")


def test_a_fraction_is_spread_evenly(folder: Path) -> None:
    chosen = {share: choose(folder, share) for share in (0.01, 0.25, 0.5, 0.75, 1.0)}
    assert chosen == {0.01: [2], 0.25: [2], 0.5: [1, 3], 0.75: [0, 2, 3], 1.0: [0, 1, 2, 3]}
    assert choose(folder, [3, 1, 3]) == [1, 3]


def test_what_is_missing_is_named(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no \$store\$_observation_ckpt.7.gz; checkpoints here: 0, 1, 2, 3"):
        load(folder, 1, 7)
    with pytest.raises(ValueError, match=r"no checkpoint here; expected files: \$store\$_observation_ckpt.N.gz, .*; "
                                         r"there are some in .*logs"):  # fmt: skip
        load(folder.parent, 0)
    with pytest.raises(ValueError, match=r"nowhere: no checkpoint here; expected files"):
        load(tmp_path / "nowhere", 0)
    for name in FILES[1:]:
        logs = tmp_path / name
        Memory(logs, LENGTHS)
        missing = logs / f"{name}_ckpt.1.gz"
        missing.unlink()
        with pytest.raises(FileNotFoundError) as caught:
            load(logs, 0, 1)
        assert str(caught.value).startswith(f"{missing}: no such file; a checkpoint has $store$_observation, ")


def as_pickle(array: NDArray[Any]) -> bytes:
    return gzip.compress(pickle.dumps(array.tolist()))


def saved(array: NDArray[Any]) -> bytes:
    file = io.BytesIO()
    np.save(file, array, allow_pickle=True)
    return gzip.compress(file.getvalue())


def with_value(row: int, value: float) -> Callable[[NDArray[Any]], bytes]:
    def write_it(array: NDArray[Any]) -> bytes:
        changed = array.astype(np.float64)
        changed[row] = value
        return saved(changed)

    return write_it


WRONG: dict[str, tuple[str, Callable[[NDArray[Any]], bytes], str]] = {
    "a pickle": ("$store$_action", as_pickle, "truncated or damaged"),
    "objects": ("$store$_reward", lambda array: saved(array.astype(object)), "an array of objects"),
    "objects as frames": ("$store$_observation", lambda array: saved(array.astype(object)), "an array of objects"),
    "not gzip'd": ("$store$_terminal", lambda array: array.tobytes(), "truncated or damaged"),
    "nothing": ("$store$_terminal", lambda array: b"", "truncated or damaged"),
    "floats as frames": ("$store$_observation", lambda array: saved(array / 255), "allowed: uint8"),
    "flat frames": ("$store$_observation", lambda array: saved(array.reshape(CAPACITY, -1)), "allowed: uint8"),
    "Fortran's order": ("$store$_observation", lambda array: saved(np.asfortranarray(array)), "Fortran"),
    "fewer rows": ("$store$_action", lambda array: saved(array[:-1]), "beside it has 40 rows"),
    "two columns": ("$store$_reward", lambda array: saved(np.stack([array, array])), "beside it has 40 rows"),
    "words": ("$store$_action", lambda array: saved(array.astype(str)), "allowed: real numbers"),
    "half an action": ("$store$_action", with_value(4, 0.5), "action row 4 is 0.5"),
    "NaN": ("$store$_reward", with_value(5, np.nan), "reward row 5 is nan"),
    "a flag of 2": ("$store$_terminal", with_value(6, 2), "terminal row 6 is 2.0"),
    "two ends": ("$store$_terminal", with_value(12, 1), "row 12 is not 0, less than 4 rows behind the end"),
    "an end too many": ("$store$_terminal", with_value(5, 1), "is not 0, less than 4 rows behind the end"),
    "a reward in a blank row": ("$store$_reward", with_value(13, 1), "row 13 is not 0"),
    "a frame in a blank row": ("$store$_observation", lambda array: saved(np.maximum(array, 1)), "row 12 is not 0"),
    "no count": ("add_count", lambda array: saved(array - array), "one integer, at least 1"),
    "counts": ("add_count", lambda array: saved(np.array([1, 2])), "one integer, at least 1"),
    "a count of few rows": ("add_count", lambda array: saved(array * 0 + CAPACITY + 4), "leaves 4 rows"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_file_is_named(case: str, tmp_path: Path, folder: Path) -> None:
    del folder
    name, made, said = WRONG[case]
    logs = tmp_path / "logs"
    Memory(logs, LENGTHS)
    path = logs / f"{name}_ckpt.0.gz"
    path.write_bytes(made(read(logs, 0, name)))
    with pytest.raises(ValueError) as caught:
        load(logs, 0)
    message = str(caught.value)
    # An end that is set too often shows in the first file whose row is not blank.
    assert message.startswith(str(logs) if case == "an end too many" else f"{path}: ")
    assert said in message
    assert "\n" not in message


def test_frames_of_other_sizes_do_not_go_together(tmp_path: Path, folder: Path) -> None:
    del folder
    Memory(tmp_path / "logs", LENGTHS)
    path = tmp_path / "logs" / "$store$_observation_ckpt.1.gz"
    write(path, read(tmp_path / "logs", 1, "$store$_observation")[:, :4])
    with pytest.raises(ValueError, match=r"frames differ in shape: \(6, 5\), \(4, 5\)"):
        load(tmp_path / "logs", 0, 1)


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_bytes_that_are_cut_or_changed_are_named_or_do_not_matter(
    folder: Path, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    logs = tmp_path_factory.mktemp("damaged")
    for whole in folder.glob("*_ckpt.1.gz"):
        (logs / whole.name).write_bytes(whole.read_bytes())
    path = logs / f"{data.draw(st.sampled_from(FILES))}_ckpt.1.gz"
    content = bytearray(path.read_bytes())
    place = data.draw(st.integers(0, len(content) - 1))
    if data.draw(st.booleans()):
        del content[place:]
    else:
        content[place] ^= data.draw(st.integers(1, 255))
    path.write_bytes(content)
    try:
        found = load(logs, 1)
    except ValueError as error:
        message = str(error)
        assert message.startswith(f"{path}: ")
        assert "\n" not in message
    else:
        assert steps_of(found) == slow(folder, 1)


@settings(max_examples=60, deadline=None)
@example(lengths=(1, 1, 28), numbers={0, 1})  # whose last row is the one before a new round
@given(lengths=st.lists(st.integers(1, 60), min_size=1, max_size=12).map(tuple), numbers=st.sets(st.integers(0, 5)))
def test_any_recording_is_read_as_the_slow_loop_reads_it(
    folder: Path, tmp_path_factory: pytest.TempPathFactory, lengths: tuple[int, ...], numbers: set[int]
) -> None:
    del folder
    logs = tmp_path_factory.mktemp("any") / "logs"
    memory = Memory(logs, lengths)
    chosen = sorted(number for number in numbers if number < memory.num_logged) or [0]
    expected = [row for number in chosen for row in slow(logs, number)]
    if not expected or any(int(read(logs, number, "add_count")) % CAPACITY <= 4 for number in chosen):
        with pytest.raises(ValueError, match=r"more than 4 are needed|two rows needed|at least 1"):
            load(logs, *chosen)
        return
    found = load(logs, *chosen)
    assert steps_of(found) == expected
    num_ended = int((found.truncated | found.terminated).sum())
    assert num_ended >= len({episode for episode, *_ in expected})
    assert num_ended <= len(chosen) - 1 + len({episode for episode, *_ in expected})


def test_the_limit_of_the_published_recordings_is_that_of_the_configuration() -> None:
    assert composed("dataset=atari-replay", "dataset.path=x").dataset.max_episode_steps == MAX_EPISODE_STEPS


def test_games_have_the_scores_of_random_play_and_of_a_human() -> None:
    assert scores()["Pong"] == (-20.7, 14.6)
    assert all(low < high for low, high in scores().values())
