"""Stacks that are made when they are taken."""

import numpy as np
import pytest
import torch

from bcq_exp.data.frames import FrameStacks, StackedFrames

FRAMES = np.arange(7, dtype=np.uint8)[:, None, None] * np.ones((1, 2, 3), np.uint8)  # frame t is full of t
NEWEST = np.array([2, 3, 6, 3])
STACKS = np.array([[0, 1, 2], [1, 2, 3], [4, 5, 6], [1, 2, 3]])


def filled(numbers: np.ndarray) -> np.ndarray:
    return numbers[..., None, None] * np.ones((2, 3), np.uint8)


def test_a_column_of_stacks_is_handled_like_an_array() -> None:
    column = FrameStacks(FRAMES, NEWEST, 3)
    whole = filled(STACKS)
    assert (column.shape, column.dtype, len(column)) == (whole.shape, np.uint8, 4)
    assert np.array_equal(np.asarray(column), whole)
    assert np.asarray(column, np.float32).dtype == np.float32
    assert np.array_equal(column[2], whole[2])
    assert [row.tobytes() for row in column] == [row.astype(np.uint8).tobytes() for row in whole]


@pytest.mark.parametrize("rows", [slice(1, 3), np.array([3, 0]), np.array([False, True, True, False]), slice(None, 0)])
def test_rows_of_it_are_a_column_on_the_same_frames(rows: object) -> None:
    taken = FrameStacks(FRAMES, NEWEST, 3)[rows]
    assert taken.frames is FRAMES
    assert np.array_equal(np.asarray(taken), filled(STACKS)[rows])


@pytest.mark.parametrize("rows", [[0], [3, 2, 2], []])
def test_tensors_give_the_same_stacks(rows: list[int]) -> None:
    column = StackedFrames(torch.from_numpy(FRAMES), torch.from_numpy(NEWEST), 3)
    assert (column.shape, column.dtype) == ((4, 3, 2, 3), torch.uint8)
    assert np.array_equal(column[torch.tensor(rows, dtype=torch.int64)].numpy(), filled(STACKS)[rows])
