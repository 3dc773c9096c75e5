"""A Gaussian policy whose mean tanh keeps in the bounds, and what algorithms take of it, worked out in numpy."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from algorithms import tiny
from algorithms.golden import Adam, Array, Weights, assert_same, backward, cat, forward

GAMMA, TAU, MAX_ACTION = 0.9, 0.3, 1.5  # the first two as in `tiny.CONFIGS`
CRITICS = ("critic1", "critic2")
DATA = tiny.data(is_discrete=False)
NUM_ROWS = len(DATA["rew"])
ONES = np.ones(NUM_ROWS)


class Head(NamedTuple):
    """What a state's Gaussian is made from: the last is the derivative of the log deviation in what is bounded."""

    mean: Array
    log_std: Array
    inputs: list[Array]
    slope: Array


def split(net: Weights) -> tuple[Weights, Weights]:
    """The deviation's own vector, where there is one, and the layers."""
    return ([], net) if net[0].ndim > 1 else (net[:1], net[1:])


def head(
    net: Weights, s: Array, *, low: float, high: float, is_sigmoid: bool = False, factors: Sequence[Array] = ()
) -> Head:
    own, layers = split(net)
    out, inputs = forward(layers, s, factors)
    raw, free = (out, np.broadcast_to(own[0], out.shape)) if own else np.split(out, 2, -1)
    if is_sigmoid:
        share = 1 / (1 + np.exp(-free))
        log_std, slope = low + (high - low) * share, (high - low) * share * (1 - share)
    else:
        log_std, slope = free.clip(low, high), ((low < free) & (free < high)).astype(float)
    return Head(MAX_ACTION * np.tanh(raw), log_std, inputs, slope)


def log_likelihood(at: Head, a: Array) -> Array:
    """log of the product of the dimensions' densities."""
    variance = np.exp(2 * at.log_std)
    return -((a - at.mean) ** 2 / (2 * variance) + np.log(2 * np.pi * variance) / 2).sum(-1)


def clone(
    net: Weights, at: Head, a: Array, weight: Array = ONES, factors: Sequence[Array] = ()
) -> tuple[float, Weights]:
    """-mean w log pi(a|s), and its gradients; the weights are constants."""
    loss = -np.mean(weight * log_likelihood(at, a))
    scaled = (a - at.mean) / np.exp(at.log_std)
    d_mean = -weight[:, None] / len(a) * scaled / np.exp(at.log_std)
    d_free = -weight[:, None] / len(a) * (scaled**2 - 1) * at.slope
    d_raw = d_mean * MAX_ACTION * (1 - (at.mean / MAX_ACTION) ** 2)
    own, layers = split(net)
    grads, _ = backward(layers, at.inputs, d_raw if own else cat(d_raw, d_free), factors)
    return loss, [d_free.sum(0), *grads] if own else grads


def regress(net: Weights, x: Array, y: Array) -> tuple[float, Weights]:
    """mean (y - net(x))^2, and its gradients."""
    q, inputs = forward(net, x)
    grads, _ = backward(net, inputs, 2 * (q - y[:, None]) / len(y))
    return np.mean((q[:, 0] - y) ** 2), grads


def smallest(critics: dict[str, Weights], s: Array, a: Array) -> Array:
    """min_j Q_j(s, a), (B,) or a number."""
    return np.minimum(*(forward(critics[name], cat(s, a))[0][..., 0] for name in CRITICS))


class Working:
    """A policy's networks, targets and optimizers by hand."""

    def __init__(self, policy: tiny.Policy) -> None:
        self.policy = policy
        self.nets = {name: tiny.arrays(net) for name, net in policy.nets.items()}
        self.slow = {name: tiny.arrays(net) for name, net in policy.targets.items()}
        self.optimizers = {name: Adam(tiny.LR) for name in self.nets}
        self.stream = tiny.replay(policy)

    def step(self, name: str, grads: Weights) -> None:
        self.nets[name] = self.optimizers[name].step(self.nets[name], grads)

    def step_critics(self, y: Array) -> dict[str, float]:
        """A step of each critic towards the targets (B,)."""
        losses = {}
        for name in CRITICS:
            losses[f"{name}_loss"], grads = regress(self.nets[name], cat(DATA["obs"], DATA["act"]), y)
            self.step(name, grads)
        return losses

    def check(self, slow: dict[str, Weights]) -> None:
        """That the policy holds the same weights and last gradients, and the given targets."""
        for found, expected in ((self.policy.nets, self.nets), (self.policy.targets, slow)):
            assert found.keys() == expected.keys()
            for name in expected:
                assert_same(tiny.arrays(found[name]), expected[name])
        for name, optimizer in self.optimizers.items():
            assert_same(tiny.gradients(self.policy.nets[name]), optimizer.history[-1])
