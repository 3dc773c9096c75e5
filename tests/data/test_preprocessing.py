from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bcq_exp.data import Transitions, observation_statistics, storage
from bcq_exp.data.frames import FrameStacks
from bcq_exp.data.mapping import in_files
from bcq_exp.data.preprocessing import episode_returns, held_out, leading, range_of_returns, subset, transform_rewards
from bcq_exp.data.storage import is_mapped
from bcq_exp.data.transitions import REQUIRED
from cases import random_walk

WHOLE = {"fraction": 1.0, "seed": 0, "top_return_fraction": 1.0}


def episodes(*rewards: list[float], **columns: object) -> Transitions:
    """Episodes with these rewards; the observation says which episode (its number) and which step it is."""
    ends = np.concatenate([np.arange(len(rew)) == len(rew) - 1 for rew in rewards])
    obs = np.array([[number, step] for number, rew in enumerate(rewards) for step in range(len(rew))], np.float32)
    found = {"obs": obs, "act": np.arange(len(obs)) % 2, "rew": np.concatenate(rewards), "obs_next": obs + 0.5}
    return Transitions.from_columns({**found, "terminated": ends, "truncated": ~ends & ends, **columns}, "made up")


def numbers(transitions: Transitions) -> list[int]:
    """The episode of each row."""
    return transitions.obs[:, 0].astype(int).tolist()


# ------------------------------------------------------------------ episodes


def test_top_returns_are_counted_in_transitions_and_stay_in_the_order_of_their_recording():
    data = episodes([1, 1], [5], [0, 0, 0, 0], [2, 2], [-1])  # returns 2, 5, 0, 4, -1; ten transitions
    assert numbers(subset(data, **WHOLE | {"top_return_fraction": 0.3})) == [1, 3, 3]
    assert numbers(subset(data, **WHOLE | {"top_return_fraction": 0.4})) == [1, 3, 3]
    assert numbers(subset(data, **WHOLE | {"top_return_fraction": 0.5})) == [0, 0, 1, 3, 3]


def test_at_least_one_episode_is_left():
    data = episodes([0] * 5, [1] * 5)
    assert numbers(subset(data, **WHOLE | {"top_return_fraction": 1e-6})) == [1] * 5
    assert set(numbers(subset(data, **WHOLE | {"fraction": 1e-6}))) in ({0}, {1})


def test_of_equal_returns_the_first_recorded_ones_are_taken():
    assert numbers(subset(episodes([1], [1], [1], [1]), **WHOLE | {"top_return_fraction": 0.5})) == [0, 1]


def test_whole_data_come_back_untouched():
    data = random_walk(4, is_discrete=True)
    assert subset(data, **WHOLE) is data


@given(
    lengths=st.lists(st.integers(1, 9), min_size=1, max_size=12),
    fraction=st.floats(0.01, 1),
    top=st.floats(0.01, 1),
    seed=st.integers(0, 5),
)
def test_what_is_left_are_whole_episodes_within_the_fractions(
    lengths: list[int], fraction: float, top: float, seed: int
):
    data = episodes(*([float(number % 3)] * length for number, length in enumerate(lengths)))
    left = subset(data, fraction=fraction, seed=seed, top_return_fraction=top)
    kept = list(dict.fromkeys(numbers(left)))
    assert kept == sorted(kept)
    assert numbers(left) == [number for number in kept for _ in range(lengths[number])]
    assert len(kept) == 1 or len(left) <= round(top * round(fraction * len(data)))
    assert left.episode_returns.tolist() == [float(number % 3) * lengths[number] for number in kept]
    assert (left.terminated | left.truncated)[-1]


def test_the_fraction_is_random_by_its_seed_and_the_same_each_time():
    data = episodes(*[[0.0]] * 200)
    first, same, other = (numbers(subset(data, fraction=0.5, seed=seed, top_return_fraction=1.0)) for seed in (0, 0, 1))
    assert first == same != other
    assert len(first) == 100
    assert 70 < np.mean(first) < 130  # not the first episodes, nor the last


def test_top_returns_are_those_of_what_the_fraction_leaves():
    data = episodes(*[[float(number)] for number in range(100)])
    half = numbers(subset(data, fraction=0.5, seed=3, top_return_fraction=1.0))
    assert numbers(subset(data, fraction=0.5, seed=3, top_return_fraction=0.1)) == half[-5:]


def test_every_column_keeps_its_rows_and_their_places_in_the_file():
    rows = np.array([0, 1, 2, 5])
    masks = {"mask": np.arange(8).reshape(4, 2) < 7, "mask_next": np.arange(8).reshape(4, 2) > 2}
    data = replace(episodes([1, 1], [5], [0], **masks), act_next=np.arange(4, dtype=np.float32)[:, None])
    left = subset(data, **WHOLE | {"top_return_fraction": 0.75})
    assert numbers(left) == [0, 0, 1]
    for name in ("obs", "act", "rew", "terminated", "truncated", "obs_next", "mask", "mask_next", "act_next"):
        np.testing.assert_array_equal(getattr(left, name), getattr(data, name)[:3])
    assert left.rows is not None
    assert left.rows.tolist() == [0, 1, 2]
    again = subset(replace(data, rows=rows), **WHOLE | {"top_return_fraction": 0.25})
    assert again.rows is not None
    assert again.rows.tolist() == [2]


def test_recorded_returns_count_where_there_is_one_for_each_episode():
    recorded = episodes([1, 1], [5], episode_returns=np.array([9.0, 5.0]))  # a last reward that is no transition
    assert numbers(subset(recorded, **WHOLE | {"top_return_fraction": 0.7})) == [0, 0]
    missing = episodes([1, 1], [5], episode_returns=np.array([9.0, 5.0, 0.0]))
    assert episode_returns(missing).tolist() == [2, 5]


def test_columns_in_files_stay_in_files_and_hold_the_same(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("BCQ_EXP_CACHE", str(tmp_path))
    monkeypatch.setattr(storage, "CHUNK", 100)
    data = random_walk(30, is_discrete=False)
    for choice in ({"fraction": 0.4}, {"top_return_fraction": 0.4}):
        mapped, held = subset(in_files(data), **WHOLE | choice), subset(data, **WHOLE | choice)
        assert len(held) == 12 * 20
        for name in REQUIRED:
            assert is_mapped(getattr(mapped, name))
            assert not is_mapped(getattr(held, name))
            np.testing.assert_array_equal(getattr(mapped, name), getattr(held, name))


def test_stacks_of_frames_go_on_sharing_their_frames():
    frames = np.arange(12, dtype=np.uint8).reshape(12, 1, 1)
    obs, obs_next = (FrameStacks(frames, np.arange(first, first + 4), num_frames=3) for first in (3, 4))
    data = replace(episodes([0.0], [0.0], [1.0, 1.0]), obs=obs, obs_next=obs_next)
    left = subset(data, **WHOLE | {"top_return_fraction": 0.5})
    assert left.obs.frames is left.obs_next.frames is frames
    np.testing.assert_array_equal(np.asarray(left.obs)[:, :, 0, 0], [[3, 4, 5], [4, 5, 6]])
    np.testing.assert_array_equal(np.asarray(left.obs_next)[:, :, 0, 0], [[4, 5, 6], [5, 6, 7]])


def test_a_fraction_that_rounding_leaves_below_a_whole_number_counts_as_that_number():
    assert 0.29 * 100 < 29
    assert len(leading(np.arange(100), np.ones(100, int), 0.29)) == 29


# ------------------------------------------------------------------ rewards


def test_rewards_are_clipped_then_scaled_then_shifted():
    rew = np.array([-3, -0.5, 0.25, 8], np.float32)
    out = transform_rewards(rew, clip=(-1.0, 2.0), scale=10.0, shift=-1.0)
    assert out.tolist() == [-11, -6, 1.5, 19]
    assert out.dtype == np.float32


def test_neutral_values_give_back_the_rewards_themselves():
    rew = np.array([1, 2], np.float32)
    assert transform_rewards(rew, clip=None, scale=1.0, shift=0.0) is rew


def test_rewards_in_a_file_that_cannot_be_written_are_made_anew_in_another(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    monkeypatch.setenv("BCQ_EXP_CACHE", str(tmp_path))
    monkeypatch.setattr(storage, "CHUNK", 8)
    np.save(tmp_path / "rew.npy", np.arange(5, dtype=np.float32))
    recorded = np.load(tmp_path / "rew.npy", mmap_mode="r")
    made = transform_rewards(recorded, clip=None, scale=2.0, shift=1.0)
    assert is_mapped(made)
    assert made.tolist() == [1, 3, 5, 7, 9]
    assert recorded.tolist() == [0, 1, 2, 3, 4]


def test_the_range_of_returns_is_that_of_the_clipped_rewards_of_whole_episodes():
    rew, ends = np.array([1, 2, -9, 4, 1], np.float32), np.array([0, 1, 1, 0, 1], bool)
    assert range_of_returns(rew, ends, clip=None) == 5 - -9
    assert range_of_returns(rew, ends, clip=(-1.0, 2.0)) == 3 - -1


def test_episodes_of_one_return_have_no_range_to_divide_by():
    with pytest.raises(ValueError, match=r"dataset.return_range: each of 2 episodes has the return 3, .*=null"):
        range_of_returns(np.array([1, 2, 3], np.float32), np.array([0, 1, 1], bool), clip=None)


# ------------------------------------------------------------------ statistics


def test_statistics_are_those_of_numpy_in_float64(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(storage, "CHUNK", 7 * 3 * 4)
    obs = (np.random.default_rng(0).normal(size=(50, 3)) * [1, 1e-3, 100] + [1e4, 0, -5]).astype(np.float32)
    mean, std = observation_statistics(obs)
    np.testing.assert_allclose(mean, obs.astype(np.float64).mean(0), rtol=1e-12)
    np.testing.assert_allclose(std, obs.astype(np.float64).std(0), rtol=1e-9)


def test_whole_episodes_are_held_out_and_none_is_in_both_parts():
    data = random_walk(20, is_discrete=True)
    rest, held = held_out(data, fraction=0.25, seed=3)
    assert (len(rest.episode_returns), len(held.episode_returns)) == (15, 5)
    assert sorted([*rest.rows, *held.rows]) == list(range(len(data)))
    assert {*(rest.rows // 20)}.isdisjoint({*(held.rows // 20)})
    assert sorted([*rest.episode_returns, *held.episode_returns]) == sorted(data.episode_returns)
    np.testing.assert_array_equal(held.obs, data.obs[held.rows])


def test_the_seed_decides_which_episodes_are_held_out():
    data = random_walk(20, is_discrete=True)
    drawn = [tuple(held_out(data, fraction=0.25, seed=seed)[1].rows) for seed in (0, 0, 1)]
    assert drawn[0] == drawn[1] != drawn[2]


def test_a_part_that_leaves_no_episode_to_learn_from_is_refused():
    with pytest.raises(ValueError, match=r"dataset.holdout=0.2 leaves none of 1 episodes to learn from; give less"):
        held_out(random_walk(1, is_discrete=True), fraction=0.2, seed=0)
