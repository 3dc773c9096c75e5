import numpy as np
import pytest
import torch

from algorithms import tiny
from algorithms.golden import Adam, assert_same, backward, cross_entropy, forward


def test_golden_update() -> None:
    """-mean log G(a|s), G being a distribution over the available actions."""
    data, policy = tiny.data(is_discrete=True), tiny.make_policy("bc_discrete")
    imitator = tiny.arrays(policy.nets["imitator"])

    stats = policy.learn(data)

    logits, inputs = forward(imitator, data["obs"])
    loss, d_logits = cross_entropy(np.where(data["mask"], logits, -np.inf), data["act"])
    grads, _ = backward(imitator, inputs, d_logits)
    assert stats.smoothed_loss == pytest.approx({"loss": loss}, abs=1e-10)
    assert_same(tiny.gradients(policy.nets["imitator"]), grads)
    assert_same(tiny.arrays(policy.nets["imitator"]), Adam(tiny.LR).step(imitator, grads))


def test_the_clone_takes_the_most_probable_of_the_available_actions() -> None:
    obs, mask = torch.randn(100, tiny.OBS_DIM), torch.rand(100, int(tiny.DISCRETE.n)) < 0.5
    mask[:, 0] = True
    policy = tiny.make_policy("bc_discrete")
    logits, _ = forward(tiny.arrays(policy.nets["imitator"]), obs.numpy())
    assert policy({"obs": obs}).act.tolist() == logits.argmax(-1).tolist()
    available = np.where(mask, logits, -np.inf)
    assert policy({"obs": obs, "mask": mask}).act.tolist() == available.argmax(-1).tolist()
