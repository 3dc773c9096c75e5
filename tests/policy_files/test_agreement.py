"""A file that acts otherwise than its policy is found out; what rounding decides is not held against it."""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from algorithms import tiny
from bcq_exp.algorithms import REGISTRY
from bcq_exp.policies import Policy
from bcq_exp.policy_files.agreement import CHANGE, Agreement, Rows, compare, drawn, recorded, steepness, with_masks
from bcq_exp.policy_files.program import Program
from cases import checked
from policy_files.states import own_actions, states
from trained import on_file

Change = Callable[[NDArray[Any], Sequence[NDArray[Any]]], NDArray[Any]]


def agreement(policy: Policy, change: Change, *, num_rows: int = 40) -> Agreement:
    """The comparison with a file whose actions are the policy's, changed."""
    rows = states(num_rows, num_actions=int(tiny.DISCRETE.n) if policy.action_map.is_discrete else None)
    program = Program(policy, has_mask=rows.mask is not None, noise_seed=None)

    def run(inputs: Sequence[NDArray[Any]]) -> list[NDArray[Any]]:
        return [change(program(*map(torch.as_tensor, inputs))[0].numpy(), inputs)]

    return compare(run, policy, program, rows, None)


@pytest.mark.parametrize("name", ["td3", "bcq", "dqn", "spibb_dqn", "discretized_dqn"])
def test_the_same_actions_agree_without_exception(name: str) -> None:
    found = agreement(tiny.make_policy(name).eval(), lambda act, _: act)
    assert (found.num_rows, found.num_by_rounding) == (40, 0)
    assert found.largest_difference < 1e-6  # a row alone is rounded otherwise than among others
    assert found.tolerance == (0.0 if REGISTRY[name].is_discrete else 1e-5)


def in_row_7(act: NDArray[Any], inputs: Sequence[NDArray[Any]], change: Callable[[Any], Any]) -> NDArray[Any]:
    seventh = (inputs[0] == states(40).obs[7]).all(axis=1)
    act = act.copy()
    act[seventh] = change(act[seventh])
    return act


@pytest.mark.parametrize(
    ("name", "change"),
    [("td3", lambda act: act + 1e-2), ("td3", lambda act: act * np.nan), ("bcq", lambda act: act + 1e-2),
     ("dqn", lambda act: (act + 1) % 6), ("spibb_dqn", lambda act: (act + 1) % 6)],
)  # fmt: skip
def test_one_action_that_is_another_is_an_error_that_names_its_row(name: str, change: Callable[[Any], Any]) -> None:
    policy = tiny.make_policy(name).eval()
    with pytest.raises(ValueError, match=r"^1 of 40 actions are not the policy's: in row 7 the file gives .*nothing"):
        agreement(policy, lambda act, inputs: in_row_7(act, inputs, change))


def test_an_exploring_policy_is_not_what_its_file_is() -> None:
    policy = tiny.make_policy("dqn", eval_eps=0.5).eval()
    with pytest.raises(ValueError, match="actions are not the policy's"):
        agreement(policy, lambda act, _: act)


def test_either_of_two_actions_of_equal_value_agrees() -> None:
    """The values of actions 0 and 1 are sums of the same numbers in another order, above those of all others."""
    policy = tiny.make_policy("dqn").eval()
    *_, hidden, _, last = policy.nets["model"].layers
    with torch.no_grad():
        hidden.weight.copy_(0.3 * hidden.weight.mean(0).expand_as(hidden.weight))
        hidden.bias.fill_(3.0)
        last.weight[:2] = torch.tensor([[0.1, 0.7, 0.31, 0.23, 0.9], [0.9, 0.23, 0.31, 0.7, 0.1]])
        last.weight[2:] = 0
        last.bias.fill_(0.0)
    rows = Rows(states(40).obs, np.ones((40, 6), np.bool_))
    program, own = Program(policy, has_mask=True, noise_seed=None), policy.compute_action(rows.obs, mask=rows.mask)
    assert set(own) == {0, 1}

    def file(other: NDArray[Any]) -> Callable[..., Any]:
        return lambda inputs: [other[[int((rows.obs == obs).all(axis=1).argmax()) for obs in inputs[0]]]]

    assert compare(file(1 - own), policy, program, rows, None).num_by_rounding == 40
    with pytest.raises(ValueError, match="40 of 40 actions are not the policy's: in row 0 the file gives 2"):
        compare(file(np.full(40, 2)), policy, program, rows, None)


def test_steepness_is_the_largest_move_of_an_action_by_such_a_change() -> None:
    network = replace(tiny.NETWORK, activation="tanh")
    program = Program(tiny.make_policy("bc", network=network).eval(), has_mask=False, noise_seed=None)
    obs, size = torch.as_tensor(states(20).obs), torch.tensor([1e-3, 2e-3, 0.0])
    corners = [size * torch.tensor(signs) for signs in itertools.product([-1.0, 1.0], repeat=3)]
    moves = torch.stack([(program(obs + corner)[0] - program(obs)[0]).abs() for corner in corners])
    torch.testing.assert_close(steepness(program, obs, [], size), moves.amax(0), rtol=0.05, atol=1e-5)


@pytest.mark.parametrize(("share", "is_excused"), [(0.5, True), (20.0, False)])
def test_an_action_may_move_as_far_as_last_digits_move_it(share: float, is_excused: bool) -> None:
    policy = tiny.make_policy("bc").eval()
    program, obs = Program(policy, has_mask=False, noise_seed=None), torch.as_tensor(states(40).obs)
    steep = steepness(program, obs, [], CHANGE * obs.abs().amax(0)).numpy()
    row = int(steep.max(axis=1).argmax())

    def moved(act: NDArray[Any], inputs: Sequence[NDArray[Any]]) -> NDArray[Any]:
        is_row = (inputs[0] == obs.numpy()[row]).all(axis=1)
        return act + (1e-5 + share * steep[row]).astype(np.float32) * is_row[:, None]

    if is_excused:
        assert agreement(policy, moved).num_by_rounding == 1
    else:
        with pytest.raises(ValueError, match=f"1 of 40 actions are not the policy's: in row {row} "):
            agreement(policy, moved)


def test_a_policy_that_has_diverged_is_named() -> None:
    policy = tiny.make_policy("td3").eval()
    with torch.no_grad():
        next(policy.nets["actor"].parameters()).fill_(torch.nan)
    with pytest.raises(ValueError, match="not finite in some rows: its training has diverged"):
        agreement(policy, lambda act, _: act)


def test_noise_of_a_seed_is_that_of_one_observation_each() -> None:
    policy, rows = tiny.make_policy("bcq").eval(), states(30)
    program = Program(policy, has_mask=False, noise_seed=7)
    assert [port.name for port in program.inputs] == ["obs"]
    found = program(torch.as_tensor(rows.obs))[0].numpy()
    for row, act in enumerate(found):
        policy.seed_acting(7)
        np.testing.assert_allclose(act, policy.compute_action(rows.obs[row]), atol=1e-6)
    expected, _ = own_actions(policy, rows)
    assert np.abs(found - expected).max() > 0.1  # drawn noise is another policy
    compared = compare(lambda inputs: [program(*map(torch.as_tensor, inputs))[0].numpy()], policy, program, rows, 7)
    assert compared.num_rows == 30


def test_rows_are_spread_over_the_dataset_or_drawn_from_the_space(discrete_file: Any) -> None:
    cfg = checked(*on_file(discrete_file))
    rows = recorded(cfg)
    whole = cfg.dataset.read().obs
    assert rows.mask is None
    np.testing.assert_array_equal(rows.obs[[0, -1]], whole[[0, -1]])
    space = drawn(cfg)
    assert space.obs.shape == (1000, 4)
    assert all(cfg.observation_space.contains(obs) for obs in space.obs)
    masked = with_masks(space, 2)
    assert masked.mask is not None
    assert masked.mask.any(axis=1).all()
    assert 0.6 < masked.mask.mean() < 0.9
