import numpy as np
import pytest
import torch

from algorithms import tiny
from algorithms.golden import Adam, assert_same, backward, cross_entropy, forward

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


def test_golden_update_of_discrete_actions() -> None:
    """-mean log G(a|s)."""
    data, policy = tiny.data(is_discrete=True), tiny.make_policy("bc_discrete")
    imitator = tiny.arrays(policy.nets["imitator"])

    stats = policy.learn(data)

    logits, inputs = forward(imitator, data["obs"])
    loss, d_logits = cross_entropy(logits, data["act"])
    grads, _ = backward(imitator, inputs, d_logits)
    assert stats.smoothed_loss == pytest.approx({"loss": loss}, abs=1e-10)
    assert_same(tiny.gradients(policy.nets["imitator"]), grads)
    assert_same(tiny.arrays(policy.nets["imitator"]), Adam(tiny.LR).step(imitator, grads))


def test_clones_act_as_their_networks_say() -> None:
    obs, mask = torch.randn(100, tiny.OBS_DIM), torch.rand(100, int(tiny.DISCRETE.n)) < 0.5
    mask[:, 0] = True
    policy = tiny.make_policy("bc", max_action=MAX_ACTION)
    raw, _ = forward(tiny.arrays(policy.nets["actor"]), obs.numpy())
    assert_same([policy({"obs": obs}).act.numpy()], [MAX_ACTION * np.tanh(raw)])

    policy = tiny.make_policy("bc_discrete")
    logits, _ = forward(tiny.arrays(policy.nets["imitator"]), obs.numpy())
    assert policy({"obs": obs}).act.tolist() == logits.argmax(-1).tolist()
    available = np.where(mask, logits, -np.inf)
    assert policy({"obs": obs, "mask": mask}).act.tolist() == available.argmax(-1).tolist()
