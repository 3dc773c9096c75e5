"""Soft actor-critic's policy and temperature, worked out in numpy for `tiny.data`."""

from typing import NamedTuple

import numpy as np

from algorithms import tiny
from algorithms.gaussian_working import CRITICS, DATA, MAX_ACTION, NUM_ROWS, Working
from algorithms.golden import Array, Weights, backward, cat, forward


class Sample(NamedTuple):
    """An action m tanh(u) of each row, its log density, and what the gradient needs."""

    act: Array
    log_prob: Array
    tanh: Array
    slope: Array
    std_eps: Array
    inside: Array
    inputs: list[Array]


def sample(net: Weights, s: Array, eps: Array, *, low: float = -20.0, slope_eps: float = 0.0) -> Sample:
    """u = mean + std eps with log std in [low, 2]; p(a) = N(u) / (da / du + m slope_eps), dimension by dimension."""
    out, inputs = forward(net, s)
    mean, free = np.split(out, 2, -1)
    log_std = free.clip(low, 2)
    raw = mean + np.exp(log_std) * eps
    slope = 1 / np.cosh(raw) ** 2
    density = np.exp(-(eps**2) / 2) / (np.sqrt(2 * np.pi) * np.exp(log_std)) / (MAX_ACTION * (slope + slope_eps))
    inside = ((free > low) & (free < 2)).astype(float)
    tanh = np.tanh(raw)
    return Sample(MAX_ACTION * tanh, np.log(density).sum(-1), tanh, slope, np.exp(log_std) * eps, inside, inputs)


def spread(policy: tiny.Policy) -> None:
    """Deviations within their range in one dimension and beyond it in some rows of the other, actions that stay apart
    from their bounds, and a temperature other than one.
    """
    weight, bias = list(policy.nets["policy"].parameters())[-2:]
    weight.data *= 0.2
    bias.data[-1] += 2
    policy.nets["temperature"].log_value.data.fill_(0.3)


def step_policy(by_hand: Working, eps: Array, *, low: float = -20.0, slope_eps: float = 0.0) -> dict[str, float]:
    """A step of policy and temperature on one action a row    (arXiv:1812.05905, eq. 9 and 18).

    alpha log pi(a|s) - min_j Q_j(s, a), and -log alpha (log pi(a|s) - A + A log m); the keywords are those of `sample`.
    """
    net, log_alpha = by_hand.nets["policy"], by_hand.nets["temperature"][0]
    at = sample(net, DATA["obs"], eps, low=low, slope_eps=slope_eps)
    assert 0 < at.inside.mean() < 1, "the bounds of the deviation shall act on some rows, and not on all"
    judged = {name: forward(by_hand.nets[name], cat(DATA["obs"], at.act)) for name in CRITICS}
    q = {name: out for name, (out, _) in judged.items()}
    is_first = q["critic1"] < q["critic2"]
    assert 0 < is_first.mean() < 1
    d_act = np.zeros_like(at.act)
    for name, is_chosen in zip(CRITICS, (is_first, ~is_first), strict=True):
        d_pair = backward(by_hand.nets[name], judged[name][1], is_chosen / -NUM_ROWS)[1]
        d_act += d_pair[:, tiny.OBS_DIM :]
    alpha = np.exp(log_alpha)
    d_raw = d_act * MAX_ACTION * at.slope + alpha / NUM_ROWS * 2 * at.tanh * at.slope / (at.slope + slope_eps)
    d_log_std = (d_raw * at.std_eps - alpha / NUM_ROWS) * at.inside
    grads, _ = backward(net, at.inputs, cat(d_raw, d_log_std))
    surplus = np.mean(at.log_prob) + tiny.ACT_DIM * (np.log(MAX_ACTION) - 1)
    losses = {
        "actor_loss": float(alpha * np.mean(at.log_prob) - np.mean(np.minimum(*q.values()))),
        "temperature_loss": float(-log_alpha * surplus),
    }
    by_hand.step("policy", grads)
    by_hand.step("temperature", [np.array(-surplus)])
    return losses
