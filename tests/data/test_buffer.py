from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare

from bcq_exp.data import ReplayBuffer, Transitions

# Three episodes: terminated after rows 0 to 2, truncated after rows 3 to 4, open at the end of the data (row 5).
TERMINATED = [0, 0, 1, 0, 0, 0]
TRUNCATED = [0, 0, 0, 0, 1, 0]
REW = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0]


def columns(**changed: Any) -> dict[str, Any]:
    rows = np.arange(6)
    made = {
        "obs": np.stack([rows, -rows], axis=1).astype(np.float64),
        "act": rows % 2,
        "rew": np.array(REW),
        "terminated": np.array(TERMINATED),
        "truncated": np.array(TRUNCATED),
        "obs_next": np.stack([rows, -rows], axis=1) + 100.0,
    }
    return made | changed


def test_columns_are_converted_and_copied() -> None:
    made = columns(act=np.arange(6, dtype=np.int8), mask=np.ones((6, 2)))
    buffer = ReplayBuffer(**made)
    assert list(buffer.columns()) == ["obs", "act", "rew", "terminated", "truncated", "obs_next", "mask"]
    assert (buffer.obs.dtype, buffer.rew.dtype, buffer.obs_next.dtype) == (torch.float32,) * 3
    assert buffer.act.dtype == torch.int64
    assert (buffer.terminated.dtype, buffer.columns()["mask"].dtype) == (torch.bool,) * 2


@pytest.mark.parametrize("as_column", [np.asarray, torch.from_numpy])
def test_columns_share_no_memory_with_the_caller(as_column: Any) -> None:
    obs = np.arange(12, dtype=np.float32).reshape(6, 2)
    buffer = ReplayBuffer(**columns(obs=as_column(obs)))
    obs[:] = 7
    assert buffer.obs[3].tolist() == [6, 7]


def test_tensors_give_the_same_buffer_as_arrays() -> None:
    made = columns()
    tensors: dict[str, Any] = {key: torch.from_numpy(column) for key, column in made.items()}
    of_tensors = ReplayBuffer(**tensors)
    for key, column in ReplayBuffer(**made).columns().items():
        torch.testing.assert_close(of_tensors.columns()[key], column, rtol=0, atol=0)
    assert ReplayBuffer(**columns(obs=torch.arange(12.0).reshape(2, 6).T)).obs.is_contiguous()


def test_images_stay_bytes() -> None:
    images = np.zeros((6, 4, 5), np.uint8)
    assert ReplayBuffer(**columns(obs=images, obs_next=images)).obs.dtype == torch.uint8


@pytest.fixture
def _float64() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.mark.usefixtures("_float64")
def test_floats_follow_the_default_dtype() -> None:
    buffer = ReplayBuffer(**columns(rew=np.array(REW, np.float32), act=np.zeros((6, 1), np.float32)))
    assert (buffer.rew.dtype, buffer.act.dtype, buffer.discounted_returns(0.9).dtype) == (torch.float64,) * 3


def test_from_transitions_keeps_every_column() -> None:
    made = columns(mask=np.eye(6, 2), mask_next=np.eye(6, 2)[::-1], truncated=np.array([0, 0, 0, 0, 1, 1]))
    buffer = ReplayBuffer.from_transitions(Transitions.from_columns(made, "here"), "cpu")
    assert len(buffer) == 6
    assert list(buffer.columns()) == list(made)
    for key, column in made.items():
        np.testing.assert_array_equal(buffer.columns()[key].numpy(), column)


def test_indexing_gives_the_same_row_of_every_column() -> None:
    batch = ReplayBuffer(**columns())[torch.tensor([4, 2])]
    assert batch.obs.tolist() == [[4, -4], [2, -2]]
    assert batch.obs_next.tolist() == [[104, 96], [102, 98]]
    assert batch.act.tolist() == [0, 0]
    assert batch.rew.tolist() == [16, 4]
    assert batch.terminated.tolist() == [False, True]
    assert batch.truncated.tolist() == [True, False]
    assert "mask" not in batch


def test_sample_is_made_of_the_rows_at_its_indices() -> None:
    batch, indices = ReplayBuffer(**columns(), seed=0).sample(50)
    assert indices.dtype == torch.int64
    torch.testing.assert_close(batch.obs[:, 0], indices.float())


def test_sampling_is_uniform() -> None:
    indices = ReplayBuffer(**columns(), seed=1).sample_indices(60_000)
    counts = torch.bincount(indices, minlength=6)
    assert len(counts) == 6
    assert chisquare(counts.numpy()).pvalue > 0.001


def test_seed_decides_the_samples() -> None:
    first, second, other = (ReplayBuffer(**columns(), seed=seed) for seed in (5, 5, 6))
    torch.manual_seed(0)
    drawn = first.sample_indices(40)
    assert torch.equal(drawn, second.sample_indices(40))
    assert not torch.equal(drawn, other.sample_indices(40))
    assert not torch.equal(drawn, first.sample_indices(40))
    first.seed(5)
    assert torch.equal(drawn, first.sample_indices(40))


def test_without_seed_two_buffers_differ() -> None:
    torch.manual_seed(0)
    first = ReplayBuffer(**columns()).sample_indices(100)
    torch.manual_seed(0)
    assert not torch.equal(first, ReplayBuffer(**columns()).sample_indices(100))


def test_sampling_leaves_the_global_stream_alone() -> None:
    state = torch.get_rng_state()
    ReplayBuffer(**columns()).sample(4)
    assert torch.equal(state, torch.get_rng_state())


@pytest.mark.parametrize("batch_size", [0, -1])
def test_batch_size_below_one(batch_size: int) -> None:
    with pytest.raises(ValueError, match=f"batch_size is {batch_size}; allowed: 1 or more"):
        ReplayBuffer(**columns()).sample(batch_size)


def test_empty_buffer_cannot_be_sampled() -> None:
    buffer = ReplayBuffer(**{key: column[:0] for key, column in columns().items()})
    assert len(buffer) == 0
    assert buffer.discounted_returns(0.9).shape == (0,)
    with pytest.raises(ValueError, match="empty"):
        buffer.sample(1)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"act": np.zeros(5)}, r"act has shape \(5,\), rew \(6,\); all columns must have the same number of rows"),
        ({"mask": np.ones((7, 2))}, r"mask has shape \(7, 2\)"),
        ({"rew": np.zeros((6, 1))}, r"rew has shape \(6, 1\); allowed: \(N,\)"),
        ({"truncated": np.zeros((6, 1))}, r"truncated has shape \(6, 1\)"),
        ({"obs_next": np.zeros((6, 3))}, r"obs_next has shape \(6, 3\); it must be like obs, \(6, 2\)"),
    ],
)
def test_wrong_shape_names_the_column(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ReplayBuffer(**columns(**changed))


def test_steps_to_end_by_hand() -> None:
    buffer = ReplayBuffer(**columns())
    assert buffer.steps_to_end.tolist() == [3, 2, 1, 2, 1, 1]
    assert buffer.terminated.tolist() == [False, False, True, False, False, False]
    assert ReplayBuffer(**columns(truncated=np.zeros(6))).steps_to_end.tolist() == [3, 2, 1, 3, 2, 1]


def test_window_by_hand() -> None:
    masks = {"mask": np.eye(6), "mask_next": np.eye(6)[::-1]}
    window = ReplayBuffer(**columns(**masks)).window(torch.tensor([0, 1, 2, 3, 4, 5, 0]), num_steps=2)
    assert window.rew.tolist() == [[1, 2], [2, 4], [4, 0], [8, 16], [16, 0], [32, 0], [1, 2]]
    assert window.num_steps.tolist() == [2, 2, 1, 2, 1, 1, 2]
    assert window.terminated.tolist() == [False, True, True, False, False, False, False]
    assert window.truncated.tolist() == [False, False, False, True, True, False, False]
    assert window.obs[:, 0].tolist() == [0, 1, 2, 3, 4, 5, 0]
    assert window.act.tolist() == [0, 1, 0, 1, 0, 1, 0]
    assert window.obs_next[:, 0].tolist() == [101, 102, 102, 104, 104, 105, 101]
    assert window.mask.int().argmax(1).tolist() == [0, 1, 2, 3, 4, 5, 0]
    assert window.mask_next.int().argmax(1).tolist() == [4, 3, 3, 1, 1, 0, 4]


@pytest.mark.parametrize(
    ("num_steps", "has_next", "act_next"),
    [(1, [1, 1, 0, 1, 0, 0], [11, 12, 12, 14, 14, 15]), (2, [1, 0, 0, 0, 0, 0], [12, 12, 12, 14, 14, 15])],
)
def test_next_action_is_that_of_the_row_behind_the_window_where_the_episode_has_one(
    num_steps: int, has_next: list[int], act_next: list[int]
) -> None:
    buffer = ReplayBuffer(**columns(act=np.arange(10, 16)))
    window = buffer.window(torch.arange(6), num_steps, ("act_next",))
    assert window.has_act_next.int().tolist() == has_next
    assert window.act_next.tolist() == act_next
    assert "act_next" not in buffer.window(torch.arange(6), num_steps)


@pytest.mark.parametrize(
    ("num_steps", "has_next", "act_next"),
    [(1, [1, 1, 0, 1, 1, 1], [20, 21, 22, 23, 24, 25]), (2, [1, 0, 0, 1, 1, 1], [21, 22, 22, 24, 24, 25])],
)
def test_next_actions_of_a_column_are_known_behind_every_row_that_is_not_terminal(
    num_steps: int, has_next: list[int], act_next: list[int]
) -> None:
    buffer = ReplayBuffer(**columns(act=np.arange(10, 16), act_next=np.arange(20, 26)))
    window = buffer.window(torch.arange(6), num_steps, ("act_next",))
    assert window.has_act_next.int().tolist() == has_next
    assert window.act_next.tolist() == act_next
    assert "act_next" not in buffer.window(torch.arange(6), num_steps)


def test_window_longer_than_every_episode() -> None:
    window = ReplayBuffer(**columns()).window(torch.tensor([0, 3]), num_steps=5)
    assert window.rew.tolist() == [[1, 2, 4, 0, 0], [8, 16, 0, 0, 0]]
    assert window.num_steps.tolist() == [3, 2]


def test_window_of_one_step_is_the_row() -> None:
    buffer = ReplayBuffer(**columns())
    rows = torch.arange(6)
    window, batch = buffer.window(rows, num_steps=1), buffer[rows]
    assert torch.equal(window.rew, batch.rew[:, None])
    for key in ("obs", "act", "terminated", "truncated", "obs_next"):
        assert torch.equal(window[key], batch[key])


def test_window_of_no_step() -> None:
    with pytest.raises(ValueError, match="num_steps is 0; allowed: 1 or more"):
        ReplayBuffer(**columns()).window(torch.tensor([0]), num_steps=0)


def test_discounted_returns_by_hand() -> None:
    buffer = ReplayBuffer(**columns())
    assert buffer.discounted_returns(0.5).tolist() == [3, 4, 4, 16, 16, 32]
    assert buffer.discounted_returns(0).tolist() == REW
    assert buffer.discounted_returns(1).tolist() == [7, 6, 4, 24, 16, 32]


@pytest.mark.parametrize("gamma", [0, 0.5, 0.999, 1])
def test_returns_to_go_are_the_discounted_returns_of_their_rows(gamma: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bcq_exp.data.buffer.PIECE_STEPS", 7)
    rng, num_rows = np.random.default_rng(0), 60
    ends = np.isin(np.arange(num_rows), [0, 6, 13, 40])  # episodes of one row, and of one piece, and of several
    obs = np.zeros((num_rows, 1))
    buffer = ReplayBuffer(
        obs=obs, act=obs, rew=rng.normal(size=num_rows), terminated=ends, truncated=np.zeros_like(ends), obs_next=obs
    )
    rows = torch.tensor([59, 0, 1, 7, 14, 14, *range(num_rows)])
    torch.testing.assert_close(buffer.returns_to_go(rows, gamma), buffer.discounted_returns(gamma)[rows])


@pytest.mark.parametrize("gamma", [-0.1, 1.1, float("nan")])
def test_gamma_out_of_range(gamma: float) -> None:
    with pytest.raises(ValueError, match=r"gamma is .*; allowed: 0 to 1"):
        ReplayBuffer(**columns()).discounted_returns(gamma)


@settings(max_examples=60, deadline=None)
@given(
    num_rows=st.integers(1, 60),
    rate=st.sampled_from([0.0, 0.05, 0.3]),
    num_steps=st.integers(1, 9),
    gamma=st.floats(0, 1),
    seed=st.integers(0, 99),
)
def test_random_episodes_as_row_by_row(num_rows: int, rate: float, num_steps: int, gamma: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    rew = rng.normal(size=num_rows).astype(np.float32)
    terminated, truncated = rng.random((2, num_rows)) < rate
    obs = np.arange(num_rows, dtype=np.float32)[:, None]
    buffer = ReplayBuffer(
        obs=obs, act=np.zeros(num_rows, int), rew=rew, terminated=terminated, truncated=truncated, obs_next=obs + 1
    )
    window = buffer.window(torch.arange(num_rows), num_steps)
    returns = buffer.discounted_returns(gamma)
    for i in range(num_rows):
        end = i
        while end < num_rows - 1 and not (terminated[end] or truncated[end]):
            end += 1
        last = min(end, i + num_steps - 1)
        assert buffer.steps_to_end[i] == end - i + 1
        assert window.num_steps[i] == last - i + 1
        assert window.rew[i].tolist() == rew[i : last + 1].tolist() + [0.0] * (num_steps - (last - i + 1))
        assert window.obs_next[i] == last + 1
        assert (window.terminated[i], window.truncated[i]) == (terminated[last], truncated[last])
        expected = 0.0
        for reward in rew[i : end + 1][::-1].tolist():
            expected = reward + gamma * expected
        assert returns[i].item() == pytest.approx(expected, rel=1e-6, abs=1e-6)


def test_returns_of_one_very_long_episode() -> None:
    num_rows = 100_000
    zeros = torch.zeros(num_rows)
    buffer = ReplayBuffer(
        obs=zeros[:, None], act=zeros.long(), rew=zeros + 1, terminated=zeros, truncated=zeros, obs_next=zeros[:, None]
    )
    expected = (1 - 0.99 ** np.arange(num_rows, 0, -1.0)) / (1 - 0.99)
    np.testing.assert_allclose(buffer.discounted_returns(0.99).numpy(), expected, rtol=1e-6)
