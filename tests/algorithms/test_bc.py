import numpy as np
import pytest
import torch

from algorithms import tiny
from algorithms.gaussian_working import DATA, Working, clone, head
from algorithms.golden import Adam, assert_same, backward, forward

MAX_ACTION = 1.5


def test_golden_update_of_continuous_actions() -> None:
    """mean (pi(s) - a)^2."""
    data, policy = tiny.data(is_discrete=False), tiny.make_policy("bc", max_action=MAX_ACTION)
    actor = tiny.arrays(policy.nets["actor"])

    stats = policy.learn(data)

    raw, inputs = forward(actor, data["obs"])
    error = MAX_ACTION * np.tanh(raw) - data["act"]
    d_raw = 2 * error / error.size * MAX_ACTION * (1 - np.tanh(raw) ** 2)
    grads, _ = backward(actor, inputs, d_raw)
    assert stats.smoothed_loss == pytest.approx({"loss": np.mean(error**2)}, abs=1e-10)
    assert_same(tiny.gradients(policy.nets["actor"]), grads)
    assert_same(tiny.arrays(policy.nets["actor"]), Adam(tiny.LR).step(actor, grads))


def test_the_clone_acts_as_its_network_says() -> None:
    obs, policy = torch.randn(100, tiny.OBS_DIM), tiny.make_policy("bc", max_action=MAX_ACTION)
    raw, _ = forward(tiny.arrays(policy.nets["actor"]), obs.numpy())
    assert_same([policy({"obs": obs}).act.numpy()], [MAX_ACTION * np.tanh(raw)])


def test_golden_update_of_a_gaussian_policy() -> None:
    """-mean log N(a; mean(s), std^2), the deviation one vector for all states."""
    policy = tiny.make_policy("bc", policy="gaussian", max_action=MAX_ACTION)
    with torch.no_grad():
        policy.nets["policy"].log_std.copy_(torch.tensor([-0.4, 2.5]))  # the second is cut at 2
    by_hand = Working(policy)
    loss, grads = clone(by_hand.nets["policy"], head(by_hand.nets["policy"], DATA["obs"], low=-5, high=2), DATA["act"])
    by_hand.step("policy", grads)
    assert policy.learn(DATA).smoothed_loss == pytest.approx({"loss": loss}, abs=1e-10)
    by_hand.check({})


def test_a_gaussian_clone_of_one_deviation_is_a_regression() -> None:
    """With unit deviation the likelihood's gradient is half that of the summed squared error."""
    policy = tiny.make_policy("bc", policy="gaussian")
    columns = {"obs": torch.as_tensor(DATA["obs"]), "act": torch.as_tensor(DATA["act"])}
    loss, _ = policy.algorithm.stages[0].loss(policy.losses_view(), {}, columns, {}, policy.hp)
    error = policy.nets["policy"](columns["obs"])[0] - columns["act"]
    params = list(policy.nets["policy"].mlp.parameters())
    found, expected = (torch.autograd.grad(each, params) for each in (loss, error.square().sum(-1).mean() / 2))
    assert_same([grad.numpy() for grad in found], [grad.numpy() for grad in expected])
