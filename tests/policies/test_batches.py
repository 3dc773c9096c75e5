from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from bcq_exp.data import Batch
from bcq_exp.policies.batches import REQUIRED, training_columns

CPU = torch.device("cpu")


def batch(**changed: Any) -> dict[str, Any]:
    made = {
        "obs": np.arange(8.0).reshape(4, 2),
        "act": np.array([0, 1, 1, 0]),
        "rew": np.array([1.0, 2.0, 3.0, 4.0]),
        "terminated": np.array([0, 0, 0, 1]),
        "truncated": np.array([0, 1, 0, 0]),
        "obs_next": np.arange(8.0).reshape(4, 2) + 2,
    }
    return made | changed


def test_columns_are_converted() -> None:
    found = training_columns(batch(act=np.array([[0.0], [1], [1], [0]])), CPU, is_discrete=True)
    assert {name: (tuple(column.shape), column.dtype) for name, column in found.items()} == {
        "obs": ((4, 2), torch.float32),
        "obs_next": ((4, 2), torch.float32),
        "act": ((4,), torch.int64),
        "rew": ((4, 1), torch.float32),
        "terminated": ((4,), torch.bool),
        "truncated": ((4,), torch.bool),
        "num_steps": ((4,), torch.int64),
    }
    assert found["num_steps"].tolist() == [1, 1, 1, 1]


@pytest.mark.parametrize("dtype", [np.uint8, np.int64, np.float16, np.float64])
def test_numbers_are_floats_as_the_replay_buffer_keeps_them(dtype: type[np.generic]) -> None:
    ones = np.ones((4, 2), dtype)
    found = training_columns(batch(obs=ones, act=ones, rew=ones[:, 0]), CPU, is_discrete=False)
    assert {found[name].dtype for name in ("obs", "act", "rew")} == {torch.float32}


def test_a_window_of_rewards_keeps_its_steps() -> None:
    window = batch(rew=np.ones((4, 3)), num_steps=np.array([3, 2, 3, 1]))
    found = training_columns(window, CPU, is_discrete=True)
    assert found["rew"].shape == (4, 3)
    assert found["num_steps"].tolist() == [3, 2, 3, 1]


def test_a_next_action_is_asked_for_with_its_validity_and_only_where_it_is_needed() -> None:
    made = batch(act_next=np.ones((4, 2)), has_act_next=np.array([1, 0, 1, 1]))
    found = training_columns(made, CPU, ("act_next",), is_discrete=False)
    assert found["act_next"].shape == (4, 2)
    assert found["has_act_next"].tolist() == [True, False, True, True]
    assert "act_next" not in training_columns(made, CPU, is_discrete=False)
    del made["has_act_next"]
    with pytest.raises(ValueError, match=r"batch lacks has_act_next; learn needs .*act_next"):
        training_columns(made, CPU, ("act_next",), is_discrete=False)


def test_returns_stand_for_the_whole_target() -> None:
    found = training_columns(batch(returns=np.array([5.0, 6, 7, 8])), CPU, is_discrete=True)
    assert found["rew"].tolist() == [[5], [6], [7], [8]]
    assert found["terminated"].all()
    assert "returns" not in found


@pytest.mark.parametrize("kind", [dict, Batch, lambda made: SimpleNamespace(**made)])
def test_masks_stand_beside_the_observation_or_in_the_batch(kind: Any) -> None:
    made = batch()
    mask = (np.arange(8).reshape(4, 2) % 3 == 0) | np.eye(2, dtype=bool)[made["act"]]
    nested = {"obs": {"obs": made["obs"], "mask": mask}, "obs_next": {"obs": made["obs_next"], "mask": ~mask}}
    for masked in (made | nested, made | {"mask": mask, "mask_next": ~mask}):
        found = training_columns(kind(masked), CPU, is_discrete=True)
        np.testing.assert_array_equal(found["mask"], mask)
        np.testing.assert_array_equal(found["mask_next"], ~mask)
        np.testing.assert_array_equal(found["obs_next"], made["obs_next"])


@pytest.mark.parametrize("name", REQUIRED)
def test_a_missing_column_is_named(name: str) -> None:
    made = batch()
    del made[name]
    for kind in (dict, Batch, lambda made: SimpleNamespace(**made)):
        with pytest.raises(ValueError, match=rf"batch lacks {name}; learn needs obs, act"):
            training_columns(kind(made), CPU, is_discrete=True)


@pytest.mark.parametrize(
    ("name", "column", "num_rows"),
    [
        ("act", np.zeros((4, 2)), 8),
        ("rew", np.ones(8), 8),
        ("rew", np.ones(5), 5),
        ("terminated", np.zeros(3), 3),
        ("truncated", np.zeros(5), 5),
        ("obs_next", np.zeros((5, 2)), 5),
        ("returns", np.zeros(5), 5),
        ("mask_next", np.ones((3, 2)), 3),
    ],
)
def test_a_column_of_another_length_is_named(name: str, column: Any, num_rows: int) -> None:
    with pytest.raises(ValueError, match=rf"batch\.{name} has {num_rows} rows, batch\.obs has 4"):
        training_columns(batch(**{name: column}), CPU, is_discrete=True)


def test_an_action_that_its_mask_excludes_is_named() -> None:
    mask = np.array([[1, 1], [0, 1], [1, 0], [1, 0]])
    with pytest.raises(ValueError, match=r"batch\.act is 1 in row 2, an action that batch\.mask excludes there"):
        training_columns(batch(mask=mask), CPU, is_discrete=True)
    found = training_columns(batch(mask=mask | np.eye(2, dtype=int)[[0, 1, 1, 0]]), CPU, is_discrete=True)
    assert found["mask"].dtype == torch.bool


@pytest.mark.parametrize("name", ["mask", "mask_next"])
def test_masks_beside_continuous_actions_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match=f"batch has {name}; masks are for discrete actions"):
        training_columns(batch(act=np.zeros((4, 2)), **{name: np.ones((4, 2))}), CPU, is_discrete=False)
