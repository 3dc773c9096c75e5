"""What the golden tests of algorithms for discrete actions share."""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from algorithms import tiny
from algorithms.golden import Adam, Array, Weights, assert_same, backward, cross_entropy, forward, td_loss
from bcq_exp.policies import Policy

GAMMA = 0.9  # as in `tiny.CONFIGS`
DATA = tiny.data(is_discrete=True)
ROWS, NUM_ACTIONS = np.arange(len(DATA["rew"])), int(tiny.DISCRETE.n)
CHOICES = [np.flatnonzero(mask) for mask in DATA["mask_next"]]


def available(values: Array) -> Array:
    """The values (rows, actions) of the actions that each row's observation has, -inf for the others."""
    return np.where(DATA["mask"], values, -np.inf)


def check_steps(policy: Policy, before: Mapping[str, Weights], grads: Mapping[str, Weights]) -> dict[str, Weights]:
    """Hold each network's gradients and weights against Adam's first step; returns the weights after it."""
    assert grads.keys() == policy.nets.keys()
    stepped = {name: Adam(tiny.LR).step(before[name], grads[name]) for name in grads}
    for name, net in policy.nets.items():
        assert_same(tiny.gradients(net), grads[name])
        assert_same(tiny.arrays(net), stepped[name])
    return stepped


def q_learning_and_imitation(
    nets: Mapping[str, Weights], y: Array, *, is_huber: bool
) -> tuple[dict[str, float], dict[str, Weights]]:
    """The losses of `model` on the targets of all rows and of `imitator` on their actions, and the gradients."""
    q, model_inputs = forward(nets["model"], DATA["obs"])
    q_loss, d_q = td_loss(q, DATA["act"], y, is_huber=is_huber)
    logits, imitator_inputs = forward(nets["imitator"], DATA["obs"])
    i_loss, d_logits = cross_entropy(available(logits), DATA["act"])
    grads = {
        "model": backward(nets["model"], model_inputs, d_q)[0],
        "imitator": backward(nets["imitator"], imitator_inputs, d_logits)[0],
    }
    return {"loss": q_loss + i_loss, "q_loss": q_loss, "i_loss": i_loss}, grads


def check_cloning(policy: Policy, name: str) -> Policy:
    """Three updates move that network as they move a clone that starts with its weights; returns the clone."""
    clone = tiny.make_policy("bc_discrete")
    clone.nets["imitator"].load_state_dict(policy.nets[name].state_dict())
    for _ in range(3):
        policy.learn(DATA)
        clone.learn(DATA)
    assert_same(tiny.arrays(policy.nets[name]), tiny.arrays(clone.nets["imitator"]))
    return clone


def masked_observations() -> dict[str, Tensor]:
    """100 states; in each some actions are available."""
    mask = torch.rand(100, NUM_ACTIONS) < 0.5
    mask[:, 3] = True
    return {"obs": torch.randn(100, tiny.OBS_DIM), "mask": mask}


def best_available(values: Array, mask: Tensor) -> list[int]:
    """Of each state, the available action of the largest value."""
    return [max(np.flatnonzero(row), key=value.__getitem__) for value, row in zip(values, mask, strict=True)]
