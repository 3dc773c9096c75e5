from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch

from bcq_exp.policies.actions import TANH_LIMIT, ActionMap

UNIT = gym.spaces.Box(-1, 1, (2,))
PENDULUM = gym.spaces.Box(-2, 2, (1,))
UNEVEN = gym.spaces.Box(np.array([-2, 0], np.float32), np.array([2, 10], np.float32))
INFINITE = gym.spaces.Box(-np.inf, np.inf, (1,))


def action_map(space: Any, scaling: bool, method: str | None) -> ActionMap:
    return ActionMap(space, action_scaling=scaling, action_bound_method=method)


@pytest.mark.parametrize(
    ("space", "scaling", "method", "act", "mapped"),
    [
        (PENDULUM, True, "clip", [[-1.0], [0.25], [3.0]], [[-2.0], [0.5], [2.0]]),
        (UNEVEN, True, "clip", [[0.5, 0.5], [-7.0, -1.0]], [[1.0, 7.5], [-2.0, 0.0]]),
        (UNEVEN, True, "tanh", [[0.0, np.arctanh(0.5)]], [[0.0, 7.5]]),
        (UNEVEN, True, None, [[0.5, -0.5], [3.0, -3.0]], [[1.0, 2.5], [2.0, 0.0]]),
        (UNIT, False, "clip", [[0.3, -4.0]], [[0.3, -1.0]]),
        (UNIT, False, "tanh", [[np.arctanh(0.5), 100.0]], [[0.5, 1.0]]),
        (UNEVEN, False, None, [[1.5, 7.0], [-9.0, 12.0]], [[1.5, 7.0], [-2.0, 10.0]]),
        (INFINITE, False, None, [[50.0]], [[50.0]]),
        (gym.spaces.Discrete(3, start=5), False, "clip", [0, 2], [5, 7]),
    ],
)
def test_map_action_by_hand(space: Any, scaling: bool, method: str | None, act: Any, mapped: Any) -> None:
    both = action_map(space, scaling, method)
    found, tensor = both.map_action(np.array(act)), both.map_tensor(torch.tensor(act))
    np.testing.assert_allclose(found, mapped, atol=1e-6)
    np.testing.assert_allclose(tensor.numpy(), found, atol=1e-6)
    assert tensor.numpy().dtype == found.dtype


@pytest.mark.parametrize(
    ("space", "scaling", "method", "act", "unmapped"),
    [
        (PENDULUM, True, "clip", [[-2.0], [0.5]], [[-1.0], [0.25]]),
        (UNEVEN, True, "tanh", [[1.0, 7.5]], [[np.arctanh(0.5), np.arctanh(0.5)]]),
        (UNIT, False, "clip", [[0.3, -0.4]], [[0.3, -0.4]]),
        (gym.spaces.Discrete(3, start=5), False, "clip", [5, 7], [0, 2]),
    ],
)
def test_map_action_inverse_by_hand(space: Any, scaling: bool, method: str | None, act: Any, unmapped: Any) -> None:
    inverse = action_map(space, scaling, method).map_action_inverse(np.array(act))
    np.testing.assert_allclose(inverse, unmapped, rtol=1e-5)


@pytest.mark.parametrize("method", ["clip", "tanh", None])
@pytest.mark.parametrize(("space", "scaling"), [(PENDULUM, True), (UNEVEN, True), (UNIT, False)])
def test_the_inverse_undoes_the_map(space: Any, scaling: bool, method: str | None) -> None:
    both = action_map(space, scaling, method)
    inside = space.low + (space.high - space.low) * np.linspace(0, 1, 101, dtype=np.float32)[:, None]
    np.testing.assert_allclose(both.map_action(both.map_action_inverse(inside)), inside, atol=1e-5)
    act = np.repeat(np.linspace(-0.99, 0.99, 101, dtype=np.float32)[:, None], space.shape[0], 1)
    np.testing.assert_allclose(both.map_action_inverse(both.map_action(act)), act, atol=1e-5)


def test_tanh_keeps_the_bounds_finite_and_within_what_networks_reach() -> None:
    both = action_map(PENDULUM, True, "tanh")
    at_bounds = both.map_action_inverse(np.array([[-2.0], [2.0]]))
    np.testing.assert_allclose(at_bounds, [[-both.max_action], [both.max_action]], rtol=1e-6)
    assert both.max_action == pytest.approx(np.arctanh(np.float32(TANH_LIMIT)))
    assert action_map(PENDULUM, True, "clip").max_action == 1


def test_environment_units_have_the_dtype_of_the_space() -> None:
    assert action_map(PENDULUM, True, "clip").map_action(np.zeros((1, 1), np.float64)).dtype == np.float32


@pytest.mark.parametrize(
    ("space", "scaling", "method", "message"),
    [
        (INFINITE, True, None, r"action_scaling=True needs a Box with finite bounds"),
        (gym.spaces.Box(np.float32([0, 1]), np.float32([1, 1])), True, "clip", r"bounds low < high"),
        (INFINITE, False, "clip", r"'clip' keeps actions in \[-1, 1\]"),
        (PENDULUM, False, "clip", r"'clip' keeps actions in \[-1, 1\], .* reaches beyond.*set action_scaling=True"),
        (gym.spaces.Box(0, 1.5, (1,)), False, "tanh", r"'tanh' keeps actions in \[-1, 1\]"),
        (UNIT, False, "sigmoid", r"action_bound_method='sigmoid' is unknown; choose clip, tanh or None"),
        (gym.spaces.MultiDiscrete([2, 2]), False, "clip", r"neither a Box nor Discrete"),
    ],
)
def test_what_cannot_be_mapped_is_an_error(space: Any, scaling: bool, method: str | None, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        action_map(space, scaling, method)


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        ([1, 0, 1], r"shape \(3,\); allowed: \(B, 3\)"),
        ([[1, 0]], r"shape \(1, 2\); allowed: \(B, 3\)"),
        ([[1, 0, 2]], r"values \[0, 1, 2\]; allowed: 0 and 1"),
        ([[1, 0, 1], [0, 0, 0]], "row 1 of the mask has no available action"),
    ],
)
def test_a_mask_that_cannot_be_meant_is_an_error(mask: list[Any], message: str) -> None:
    action_map = ActionMap(gym.spaces.Discrete(3, start=7), action_scaling=False, action_bound_method=None)
    assert action_map.available([[1, 0, 1], [0, 0, 1]]).tolist() == [[True, False, True], [False, False, True]]
    with pytest.raises(ValueError, match=message):
        action_map.available(mask)


def test_a_mask_of_continuous_actions_is_an_error() -> None:
    action_map = ActionMap(gym.spaces.Box(-1, 1, (2,)), action_scaling=False, action_bound_method="clip")
    with pytest.raises(ValueError, match="the actions are continuous"):
        action_map.available([[1, 1]])
