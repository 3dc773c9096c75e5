"""What a golden test needs to work out an update by hand: numpy in float64, gradients by the chain rule.

A network is the list of its arrays W1, b1, W2, b2, ... with W of shape (out, in) and rectified hidden layers.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[np.float64]
Weights: TypeAlias = list[Array]
Data: TypeAlias = Mapping[str, NDArray[np.generic]]


def cat(*columns: Array) -> Array:
    return np.concatenate(columns, axis=-1)


def forward(net: Weights, x: Array, factors: Sequence[Array] = ()) -> tuple[Array, list[Array]]:
    """The raw outputs, and what entered each layer; `factors` of each hidden layer's units multiply them."""
    inputs = [x]
    for layer, (w, b) in enumerate(zip(net[:-2:2], net[1:-2:2], strict=True)):
        inputs.append(np.maximum(inputs[-1] @ w.T + b, 0) * (factors[layer] if factors else 1))
    return inputs[-1] @ net[-2].T + net[-1], inputs


def backward(net: Weights, inputs: list[Array], d_out: Array, factors: Sequence[Array] = ()) -> tuple[Weights, Array]:
    """From dL/d(output) to dL/d(each array) and dL/d(input); `factors` as of `forward`."""
    grads: Weights = []
    for layer in reversed(range(len(inputs))):
        grads = [d_out.T @ inputs[layer], d_out.sum(0), *grads]
        d_out = d_out @ net[2 * layer]
        if layer > 0:
            d_out = d_out * (inputs[layer] > 0) * (factors[layer - 1] if factors else 1)
    return grads, d_out


class Adam:
    """Algorithm 1 of arXiv:1412.6980 with its suggested constants."""

    def __init__(self, lr: float) -> None:
        self.lr, self.history = lr, list[Weights]()

    def step(self, net: Weights, grads: Weights) -> Weights:
        self.history.append(grads)
        t = len(self.history)
        stepped = []
        for i, param in enumerate(net):
            first = sum(0.1 * 0.9 ** (t - s) * g[i] for s, g in enumerate(self.history, 1)) / (1 - 0.9**t)
            second = sum(0.001 * 0.999 ** (t - s) * g[i] ** 2 for s, g in enumerate(self.history, 1)) / (1 - 0.999**t)
            stepped.append(param - self.lr * first / (np.sqrt(second) + 1e-8))
        return stepped


def soft_update(target: Weights, source: Weights, tau: float) -> Weights:
    return [tau * new + (1 - tau) * old for old, new in zip(target, source, strict=True)]


def n_step_targets(
    data: Data,
    value: Callable[[int], float],
    *,
    gamma: float,
    num_steps: int = 1,
    mean: float = 0.0,
    std: float = 1.0,
) -> Array:
    """The target of each row: rewards until the window or the episode ends, and then the value of what follows.

    Only a terminal state has no value: behind a time limit, and behind the last row, life goes on unrecorded.

    Args:
        data: rows in the order of their recording.
        value: of `obs_next` in a row, in reward units.
        gamma, num_steps: discount and length of the window.
        mean, std: of the returns; the target is in units of them.
    """
    targets = []
    for first in range(len(data["rew"])):
        total, row = 0.0, first
        while True:
            total += gamma ** (row - first) * data["rew"][row]
            is_end = data["terminated"][row] or data["truncated"][row] or row + 1 == len(data["rew"])
            if is_end or row + 1 - first == num_steps:
                break
            row += 1
        if not data["terminated"][row]:
            total += gamma ** (row + 1 - first) * value(row)
        targets.append((total - mean) / std)
    return np.array(targets)


def q_learning_targets(
    data: Data,
    model: Weights,
    target: Weights,
    choices: Sequence[Collection[int]],
    *,
    is_double: bool,
    gamma: float,
    num_steps: int,
    mean: float = 0.0,
    std: float = 1.0,
) -> Array:
    """Targets whose value is the target network's, of the best of the choices that each `obs_next` offers."""

    def value(row: int) -> float:
        judged = forward(target, data["obs_next"][row])[0]
        ranked = forward(model, data["obs_next"][row])[0] if is_double else judged
        return mean + std * judged[max(choices[row], key=lambda act: ranked[act])]

    return n_step_targets(data, value, gamma=gamma, num_steps=num_steps, mean=mean, std=std)


def td_loss(q: Array, act: NDArray[np.generic], y: Array, *, is_huber: bool) -> tuple[float, Array]:
    """The mean loss of Q(s, a) - y, and its gradient in all of Q(s, .)."""
    rows = np.arange(len(y))
    error = q[rows, act] - y
    if is_huber:
        loss = np.where(abs(error) <= 1, error**2 / 2, abs(error) - 1 / 2)
        slope = np.clip(error, -1, 1)
    else:
        loss, slope = error**2, 2 * error
    d_q = np.zeros_like(q)
    d_q[rows, act] = slope / len(y)
    return loss.mean(), d_q


def softmax(logits: Array) -> Array:
    exp = np.exp(logits)
    return exp / exp.sum(-1, keepdims=True)


def cross_entropy(logits: Array, act: NDArray[np.generic]) -> tuple[float, Array]:
    """-mean log softmax(logits)[a], and its gradient in the logits."""
    probs = softmax(logits)
    one_hot = np.eye(logits.shape[-1])[act]
    return -np.log((probs * one_hot).sum(-1)).mean(), (probs - one_hot) / len(act)


def assert_same(actual: Collection[Array], expected: Collection[Array]) -> None:
    for one, other in zip(actual, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-10)
