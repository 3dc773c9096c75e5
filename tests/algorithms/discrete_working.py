"""What the golden tests of algorithms for discrete actions share."""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from algorithms import tiny
from algorithms.golden import Adam, Array, Weights, assert_same
from bcq_exp.policies import Policy

GAMMA = 0.9  # as in `tiny.CONFIGS`
DATA = tiny.data(is_discrete=True)
ROWS, NUM_ACTIONS = np.arange(len(DATA["rew"])), int(tiny.DISCRETE.n)
CHOICES = [np.flatnonzero(mask) for mask in DATA["mask_next"]]


def check_steps(policy: Policy, before: Mapping[str, Weights], grads: Mapping[str, Weights]) -> dict[str, Weights]:
    """Hold each network's gradients and weights against Adam's first step; returns the weights after it."""
    assert grads.keys() == policy.nets.keys()
    stepped = {name: Adam(tiny.LR).step(before[name], grads[name]) for name in grads}
    for name, net in policy.nets.items():
        assert_same(tiny.gradients(net), grads[name])
        assert_same(tiny.arrays(net), stepped[name])
    return stepped


def masked_observations() -> dict[str, Tensor]:
    """100 states; in each some actions are available."""
    mask = torch.rand(100, NUM_ACTIONS) < 0.5
    mask[:, 3] = True
    return {"obs": torch.randn(100, tiny.OBS_DIM), "mask": mask}


def best_available(values: Array, mask: Tensor) -> list[int]:
    """Of each state, the available action of the largest value."""
    return [max(np.flatnonzero(row), key=value.__getitem__) for value, row in zip(values, mask, strict=True)]
