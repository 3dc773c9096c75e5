import copy
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch.optim.lr_scheduler import ExponentialLR, StepLR
from torch.testing import assert_close

from bcq_exp.data import ReplayBuffer
from bcq_exp.policies import BCQPolicy, DiscreteBCQPolicy, MultipleLRSchedulers, Policy

MakeBCQ = Callable[..., BCQPolicy]
MakeDiscrete = Callable[..., DiscreteBCQPolicy]
Columns = dict[str, Any]
Case = tuple[Callable[..., Policy], Columns]

exactly = partial(assert_close, rtol=0, atol=0)


# ------------------------------------------------------------------ state


def scheduled(policy: Policy) -> Policy:
    """The same policy with a schedule for each of its optimizers."""
    optims = list(dict.fromkeys(policy.optimizers.values()))
    policy.lr_scheduler = MultipleLRSchedulers(
        ExponentialLR(optims[0], 0.9), *(StepLR(optim, 3, 0.5) for optim in optims[1:])
    )
    return policy


def test_a_saved_policy_goes_on_bit_for_bit(case: Case) -> None:
    make, columns = case
    extra = {"target_update_freq": 4} if columns["act"].ndim == 1 else {}
    straight, first, second = (scheduled(make(seed=seed, **extra)) for seed in (0, 0, 1))
    buffers = [ReplayBuffer(**columns, seed=5) for _ in range(2)]
    for _ in range(10):
        expected = straight.update(16, buffers[0])
    for _ in range(5):
        first.update(16, buffers[1])
        straight.compute_action(columns["obs"])
        first.compute_action(columns["obs"])
    second.load_training_state(copy.deepcopy(first.training_state()))
    for _ in range(5):
        stats = second.update(16, buffers[1])

    exactly(second.state_dict(), straight.state_dict())
    assert stats.smoothed_loss == expected.smoothed_loss
    assert_states_equal(second.training_state(), straight.training_state())
    for policy in (straight, second):
        policy.eval()
    np.testing.assert_array_equal(second.compute_action(columns["obs"]), straight.compute_action(columns["obs"]))


def assert_states_equal(state: Any, expected: Any) -> None:
    if isinstance(expected, dict):
        assert state.keys() == expected.keys()
        for key in expected:
            assert_states_equal(state[key], expected[key])
    elif isinstance(expected, list | tuple):
        for got, wanted in zip(state, expected, strict=True):
            assert_states_equal(got, wanted)
    elif isinstance(expected, torch.Tensor):
        assert torch.equal(state, expected)
    else:
        assert state == expected


def test_hyperparameters_are_part_of_the_state(make_bcq: MakeBCQ) -> None:
    loaded = make_bcq(tau=0.5, lmbda=0.1)
    loaded.load_state_dict(make_bcq(tau=0.25, lmbda=0.75).state_dict())
    assert {name: value.item() for name, value in loaded.hp.items()} == {
        "gamma": pytest.approx(0.99),
        "tau": 0.25,
        "lmbda": 0.75,
    }


# ------------------------------------------------------------------ random streams


def test_the_seed_decides_the_noise_of_learning(make_bcq: MakeBCQ, continuous: Columns) -> None:
    policies = [make_bcq() for _ in range(3)]
    for policy, seed in zip(policies, (1, 1, 2), strict=True):
        policy.seed(seed)
        policy.learn(continuous)
    exactly(policies[0].state_dict(), policies[1].state_dict())
    assert not torch.equal(*(policy.nets["actor"].mlp.layers[0].weight for policy in policies[1:]))


def test_acting_leaves_learning_as_it_was(case: Case) -> None:
    make, columns = case
    undisturbed, evaluated = make(), make()
    for _ in range(3):
        undisturbed.learn(columns)
        evaluated.learn(columns)
        evaluated.eval()
        evaluated.seed_acting(7)
        evaluated.compute_action(columns["obs"])
        evaluated.train()
    exactly(evaluated.state_dict(), undisturbed.state_dict())
    assert torch.equal(evaluated.learning_noise.get_state(), undisturbed.learning_noise.get_state())
    assert not torch.equal(evaluated.acting_noise.get_state(), undisturbed.acting_noise.get_state())


def test_acting_draws_anew_until_it_is_seeded(make_bcq: MakeBCQ) -> None:
    policy, obs = make_bcq(forward_sampled_times=1), np.zeros((5, 3))
    acts = []
    for seed in (3, None, 3, 4):
        if seed is not None:
            policy.seed_acting(seed)
        acts.append(policy.compute_action(obs))
    np.testing.assert_array_equal(acts[0], acts[2])
    assert not np.array_equal(acts[0], acts[1])
    assert not np.array_equal(acts[0], acts[3])


def test_the_global_seed_reaches_both_streams(case: Case) -> None:
    make, _ = case
    draws = []
    for seed in (0, 0, 1):
        policy = make(seed=seed)
        draws.append(torch.stack([torch.randn(20, generator=g) for g in (policy.learning_noise, policy.acting_noise)]))
    exactly(draws[0], draws[1])
    assert not torch.isclose(draws[1], draws[2]).any()
    assert not torch.isclose(draws[0][0], draws[0][1]).any()
