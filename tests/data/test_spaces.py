import dataclasses
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from bcq_exp.data import Transitions, check_against, storage
from bcq_exp.data.frames import FrameStacks
from bcq_exp.data.transitions import MASKS, REQUIRED
from bcq_exp.envs.environments import make_env
from bcq_exp.envs.observations import OneHot

Columns = dict[str, Any]


def read(columns: Columns, **changed: Any) -> Transitions:
    columns = columns | {key: np.asarray(column) for key, column in changed.items()}
    return Transitions.from_columns(columns, "data.h5")


PLANE = gym.spaces.Box(-10, 20, (2,))
COIN = gym.spaces.Discrete(2)
STICK = gym.spaces.Box(np.array([-1, 0], np.float32), np.array([1, 2], np.float32))


def test_fitting_discrete_actions_pass(columns: Columns) -> None:
    found = read(columns)
    assert check_against(found, PLANE, COIN, batch_size=5) is found


def test_discrete_start_shifts_the_allowed_actions(columns: Columns) -> None:
    space = gym.spaces.Discrete(2, start=-3)
    found = check_against(read(columns, act=columns["act"] - 3), PLANE, space, batch_size=1)
    np.testing.assert_array_equal(found.act, [-3, -2, -2, -3, -2])
    with pytest.raises(ValueError, match=r"data\.h5: act row 0 is 0; allowed: -3 to -2"):
        check_against(read(columns), PLANE, space, batch_size=1)


def test_rounding_beyond_a_bound_is_clipped(columns: Columns) -> None:
    act = np.zeros((5, 2), np.float32)
    act[3] = 1 + 0.9e-5, -1.9e-5
    found = check_against(read(columns, act=act), PLANE, STICK, batch_size=1)
    np.testing.assert_array_equal(found.act[3], np.array([1, 0], np.float32))
    assert STICK.contains(found.act[3])


def test_next_actions_are_bounded_like_actions(columns: Columns) -> None:
    act = np.zeros((5, 2), np.float32)
    after = act.copy()
    after[3] = 1 + 0.9e-5, -1.9e-5
    found = check_against(dataclasses.replace(read(columns, act=act), act_next=after), PLANE, STICK, batch_size=1)
    np.testing.assert_array_equal(found.act_next, np.where(np.arange(5)[:, None] == 3, np.float32([1, 0]), act))
    after[3] = 1.1, 0
    with pytest.raises(ValueError, match="act_next row 3 is"):
        check_against(dataclasses.replace(read(columns, act=act), act_next=after), PLANE, STICK, batch_size=1)


def test_bound_without_limit_allows_any_action(columns: Columns) -> None:
    space = gym.spaces.Box(np.array([-np.inf, 0], np.float32), np.array([0, np.inf], np.float32))
    act = np.tile(np.array([-1e30, 1e30], np.float32), (5, 1))
    np.testing.assert_array_equal(check_against(read(columns, act=act), PLANE, space, 1).act, act)
    with pytest.raises(ValueError, match="act row 0 is -1"):
        check_against(read(columns, act=-np.ones((5, 2))), PLANE, space, 1)


@pytest.mark.parametrize(
    ("change", "spaces", "parts"),
    [
        ({}, (gym.spaces.Box(-10, 20, (3,)), COIN), ["obs has shape (2,)", "(3,)"]),
        ({}, (gym.spaces.Discrete(2), COIN), ["obs has shape (2,)", "()"]),
        ({}, (PLANE, STICK), ["act is discrete, shape (5,)", "Box"]),
        ({"act": np.zeros((5, 2))}, (PLANE, COIN), ["act is continuous, shape (5, 2)", "Discrete(2)"]),
        ({"act": np.zeros((5, 3))}, (PLANE, STICK), ["act is continuous, shape (5, 3)"]),
        ({"act": [0, 1, 1, 2, -1]}, (PLANE, COIN), ["act row 3 is 2", "0 to 1", "in all: 2"]),
        ({"act": [[0, 0], [1.1, 0], [0, 3], [0, 0], [0, 0]]}, (PLANE, STICK), ["act row 1 is 1.1", "[-1.  0.]"]),
        ({}, (PLANE, gym.spaces.MultiDiscrete([2, 2])), ["MultiDiscrete", "not supported"]),
        ({"mask": np.ones((5, 3)), "mask_next": np.ones((5, 3))}, (PLANE, COIN), ["mask has 3 actions"]),
        ({"mask": np.eye(5, 2), "mask_next": np.ones((5, 2))}, (PLANE, COIN), ["mask row 2 is 0", "available"]),
        ({"mask": np.ones((5, 2)), "mask_next": np.eye(5, 2)}, (PLANE, COIN), ["mask_next row 3 is 0", "available"]),
    ],
)
def test_misfit_names_source_and_column(
    columns: Columns, change: Columns, spaces: tuple[Any, Any], parts: list[str]
) -> None:
    with pytest.raises(ValueError, match=r"^data\.h5: ") as error:
        check_against(read(columns, **change), *spaces, batch_size=1)
    assert all(part in str(error.value) for part in parts), str(error.value)


def test_terminal_state_needs_no_available_action(columns: Columns) -> None:
    mask_next = np.ones((5, 2))
    mask_next[2] = 0
    check_against(read(columns, mask=np.ones((5, 2)), mask_next=mask_next), PLANE, COIN, batch_size=1)


def test_dataset_shorter_than_a_batch(columns: Columns) -> None:
    with pytest.raises(ValueError, match=r"data\.h5: rew has 5 transitions, fewer than batch_size=6; allowed: 1 to 5"):
        check_against(read(columns), PLANE, COIN, batch_size=6)


IMAGES = gym.spaces.Box(0, 255, (2, 4, 5), np.uint8)


def images(columns: Columns, *shape: int, dtype: Any = np.uint8) -> Transitions:
    column = np.arange(5 * np.prod(shape)).reshape(5, *shape).astype(dtype)
    return read(columns, obs=column, obs_next=column)


@pytest.mark.parametrize(
    ("shape", "remedy"),
    [
        ((4, 5, 2), r"their axes are in another order: store obs\.transpose\(0, 3, 1, 2\)"),
        ((5, 2, 4), r"their axes are in another order: store obs\.transpose\(0, 2, 3, 1\)"),
        ((2, 20), r"store obs\.reshape\(-1, 2, 4, 5\)"),
        ((40,), r"store obs\.reshape\(-1, 2, 4, 5\)"),
        ((2, 8, 10), r"store images of that size .*cv2\.resize.*dataset\.env=ID"),
        ((3,), r"is it the environment of the recording\? dataset\.env=ID"),
    ],
)
def test_observations_of_another_shape_get_the_remedy(columns: Columns, shape: tuple[int, ...], remedy: str) -> None:
    found = images(columns, *shape)
    with pytest.raises(ValueError, match=rf"data\.h5: obs has shape .* a row; .*\(2, 4, 5\); {remedy}"):
        check_against(found, IMAGES, COIN, 1)


def test_the_remedy_for_the_order_of_axes_is_right(columns: Columns) -> None:
    """Of images whose sides are equal, those by rows: height, width, channels becomes channels, height, width."""
    square = gym.spaces.Box(0, 255, (2, 4, 4), np.uint8)
    with pytest.raises(ValueError, match=r"store obs\.transpose\(0, 3, 1, 2\)"):
        check_against(images(columns, 4, 4, 2), square, COIN, 1)
    turned = images(columns, 4, 4, 2).obs.transpose(0, 3, 1, 2)
    assert check_against(read(columns, obs=turned, obs_next=turned), square, COIN, 1).obs.dtype == np.uint8


def test_images_stay_bytes_only_where_the_environments_are(columns: Columns) -> None:
    found = images(columns, 2, 4, 5)
    assert check_against(found, IMAGES, COIN, 1) is found
    floats = check_against(found, gym.spaces.Box(-1, 999, (2, 4, 5)), COIN, 1)
    np.testing.assert_array_equal(floats.obs, found.obs.astype(np.float32), strict=True)
    np.testing.assert_array_equal(floats.obs_next, found.obs_next.astype(np.float32), strict=True)
    with pytest.raises(ValueError, match=r"obs is float32; the environment's images are uint8, 0 to 255; .*times 255"):
        check_against(images(columns, 2, 4, 5, dtype=np.float32), IMAGES, COIN, 1)


def test_bytes_are_not_taken_for_what_the_environment_divides_by_255(columns: Columns) -> None:
    ram = gym.spaces.Box(0, 1, (3,))
    with pytest.raises(ValueError, match=r"obs row 0 is 2; allowed: 0 to 1, .*divide bytes by 255"):
        check_against(images(columns, 3), ram, COIN, 1)
    binary = read(columns, obs=np.ones((5, 3), np.uint8), obs_next=np.zeros((5, 3), np.uint8))
    assert check_against(binary, ram, COIN, 1).obs.dtype == np.float32


def test_frames_of_bytes_are_no_floats(columns: Columns) -> None:
    found = images(columns, 2, 4, 5)
    frames = FrameStacks(np.zeros((9, 4, 5), np.uint8), np.arange(5) + 1, 2)
    stacked = dataclasses.replace(found, obs=frames, obs_next=frames)
    assert check_against(stacked, IMAGES, COIN, 1) is stacked
    with pytest.raises(ValueError, match="obs are frames of bytes; the environment's observations are"):
        check_against(stacked, gym.spaces.Box(-1, 9, (2, 4, 5)), COIN, 1)


def test_states_are_the_one_hot_vectors_that_the_environment_gives(columns: Columns) -> None:
    env = make_env("FrozenLake-v1")
    states = np.array([0, 3, 15, 7, 1])
    found = check_against(read(columns, obs=states, obs_next=states[::-1]), env.observation_space, COIN, 1)
    first, _ = env.reset(seed=0)
    np.testing.assert_array_equal(found.obs[0], first, strict=True)
    np.testing.assert_array_equal(found.obs.argmax(axis=1), states)
    np.testing.assert_array_equal(found.obs_next.argmax(axis=1), states[::-1])
    assert found.obs.shape == (5, 16)
    for bad in (16, -1, 2.5):
        with pytest.raises(ValueError, match=rf"obs row 3 is {bad}.*; allowed: whole numbers from 0 to 15"):
            check_against(read(columns, obs=[0, 0, 0, bad, 0], obs_next=states), env.observation_space, COIN, 1)


def test_one_hot_actions_get_the_remedy(columns: Columns) -> None:
    with pytest.raises(ValueError, match=r"act is continuous, .*; they are one-hot: store act\.argmax\(axis=1\)"):
        check_against(read(columns, act=np.eye(2)[[0, 1, 1, 0, 1]]), PLANE, COIN, 1)


def test_actions_that_are_no_whole_numbers_name_their_row(columns: Columns) -> None:
    for act in ([0, 1, 0.5, 1, 1], [[0], [1], [0.5], [1], [1]]):
        with pytest.raises(ValueError, match=r"data\.h5: act row 2 is 0\.5; allowed: integers for discrete actions"):
            check_against(read(columns, act=act), PLANE, COIN, 1)


def test_a_logged_action_must_be_available(columns: Columns) -> None:
    masks = {"mask": np.array([[1, 0], [0, 1], [1, 0], [1, 0], [1, 1]]), "mask_next": np.ones((5, 2))}
    space = gym.spaces.Discrete(2, start=5)
    with pytest.raises(ValueError, match=r"act row 2 is 6, which mask excludes there; allowed: 5 \(bad rows in all: 1"):
        check_against(read(columns, act=columns["act"] + 5, **masks), PLANE, space, 1)


def test_masks_of_continuous_actions_are_no_masks(columns: Columns) -> None:
    with pytest.raises(ValueError, match=r"mask is for discrete actions; the environment's are Box"):
        check_against(read(columns, act=np.zeros((5, 2)), mask=np.ones((5, 2))), PLANE, STICK, 1)


def test_what_a_mapped_column_becomes_is_mapped(
    columns: Columns, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each column of another type than a Transitions' own is converted piece by piece, in files."""
    monkeypatch.setenv("BCQ_EXP_CACHE", str(tmp_path))
    monkeypatch.setattr(storage, "CHUNK", 16)
    states = np.array([3, 1, 0, 2, 3])
    changed = {"obs": states, "obs_next": states[::-1], "act": columns["act"] * 1.0, "rew": columns["rew"] * 1.0}
    changed = {"mask": np.ones((5, 2), np.int8), "mask_next": np.ones((5, 2), np.int8)} | columns | changed
    for column in ("terminated", "truncated"):
        changed[column] = changed[column].astype(np.float64)
    in_memory, in_files = (
        check_against(Transitions.from_columns(each, "data.h5"), OneHot(gym.spaces.Discrete(4)), COIN, 1)
        for each in (changed, {name: storage.mapped(np.asarray(column)) for name, column in changed.items()})
    )
    for name in (*REQUIRED, *MASKS):
        assert storage.is_mapped(getattr(in_files, name)), name
        np.testing.assert_array_equal(getattr(in_files, name), getattr(in_memory, name), strict=True)


def test_names_are_one_for_each_action_of_the_environment(columns: Columns) -> None:
    names = dataclasses.replace(read(columns), action_names=("stay", "go"))
    assert check_against(names, PLANE, COIN, batch_size=1).action_names == ("stay", "go")
    for space in (gym.spaces.Discrete(3), gym.spaces.Discrete(2, start=1)):
        with pytest.raises(ValueError, match=r"act has 2 names, stay, go; the environment's actions are .* a name for"):
            check_against(names, PLANE, space, batch_size=1)
    masked = dataclasses.replace(names, mask=np.arange(10).reshape(5, 2) % 2 == 0, mask_next=np.ones((5, 2), bool))
    with pytest.raises(ValueError, match=r"act row 1 is go, which mask excludes there; allowed: stay \(bad rows"):
        check_against(masked, PLANE, COIN, batch_size=1)
