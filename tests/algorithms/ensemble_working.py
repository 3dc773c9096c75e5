"""Soft actor-critic with an ensemble of critics, worked out in numpy for `tiny.data`."""

from collections.abc import Callable

import numpy as np
import pytest
import torch

from algorithms import tiny
from algorithms.gaussian_working import DATA, GAMMA, MAX_ACTION, NUM_ROWS, TAU, Working, regress
from algorithms.golden import Array, Weights, backward, cat, forward, n_step_targets, soft_update
from algorithms.soft_working import sample, spread
from bcq_exp.policies import Policy

NUM_CRITICS = 3  # as in `tiny.CONFIGS`
SLOPE_EPS = 1e-6


def spread_out(policy: Policy) -> None:
    """`spread`, with deviations on both sides of their bound."""
    spread(policy)
    list(policy.nets["policy"].parameters())[-1].data[-1] += 0.3


def members(stacked: Weights) -> list[Weights]:
    return [[array[number] for array in stacked] for number in range(NUM_CRITICS)]


def smallest(critics: Weights, s: Array, a: Array) -> tuple[Array, Array]:
    """min_j Q_j(s, a), (B,), and its gradient in the action, (B, A): that of the critic that has the least value."""
    q, slopes = [], []
    for critic in members(critics):
        values, inputs = forward(critic, cat(s, a))
        q.append(values[:, 0])
        slopes.append(backward(critic, inputs, np.ones_like(values))[1][:, tiny.OBS_DIM :])
    chosen = np.argmin(q, 0)
    return np.min(q, 0), np.array(slopes)[chosen, np.arange(len(s))]


def step_policy(by_hand: Working, eps: Array) -> dict[str, float]:
    """A step of policy and temperature: alpha log pi(a|s) - min_j Q_j(s, a), and -log alpha (log pi(a|s) + H)."""
    net, log_alpha = by_hand.nets["policy"], by_hand.nets["temperature"][0]
    at = sample(net, DATA["obs"], eps, low=-5, slope_eps=SLOPE_EPS)
    assert 0 < at.inside.mean() < 1, "the bounds of the deviation shall act on some rows, and not on all"
    q, slope = smallest(by_hand.nets["critics"], DATA["obs"], at.act)
    alpha = np.exp(log_alpha)
    d_raw = -slope / NUM_ROWS * MAX_ACTION * at.slope
    d_raw = d_raw + alpha / NUM_ROWS * 2 * at.tanh * at.slope / (at.slope + SLOPE_EPS)
    d_log_std = (d_raw * at.std_eps - alpha / NUM_ROWS) * at.inside
    grads, _ = backward(net, at.inputs, cat(d_raw, d_log_std))
    surplus = np.mean(at.log_prob) + tiny.ACT_DIM * (np.log(MAX_ACTION) - 1)
    by_hand.step("policy", grads)
    by_hand.step("temperature", [np.array(-surplus)])
    return {"actor_loss": float(alpha * np.mean(at.log_prob) - np.mean(q)), "temperature_loss": -log_alpha * surplus}


def check_update(policy: Policy, extra: Callable[[list[Weights]], tuple[dict[str, float], list[Weights]]]) -> None:
    """One update: critics on the target with the entropy, then policy and temperature, then the slow critics.

    Args:
        policy: before its first update.
        extra: from each critic's weights to what is added to the losses that are reported, and to each gradient.
    """
    by_hand = Working(policy)
    eps_next, eps = (torch.randn(NUM_ROWS, tiny.ACT_DIM, generator=by_hand.stream).numpy() for _ in range(2))
    alpha = np.exp(by_hand.nets["temperature"][0])

    def value(row: int) -> float:
        s_next = DATA["obs_next"][row : row + 1]
        at = sample(by_hand.nets["policy"], s_next, eps_next[row : row + 1], low=-5, slope_eps=SLOPE_EPS)
        return (smallest(by_hand.slow["critics"], s_next, at.act)[0] - alpha * at.log_prob)[0]

    y = n_step_targets(DATA, value, gamma=GAMMA)
    critics = members(by_hand.nets["critics"])
    errors, grads = zip(*(regress(critic, cat(DATA["obs"], DATA["act"]), y) for critic in critics), strict=True)
    losses, added = extra(critics)
    sums = [[one + other for one, other in zip(*pair, strict=True)] for pair in zip(grads, added, strict=True)]
    by_hand.step("critics", [np.stack(rows) for rows in zip(*sums, strict=True)])
    losses |= {"critic_loss": float(np.mean(errors)), **step_policy(by_hand, eps)}

    assert policy.learn(DATA).smoothed_loss == pytest.approx(losses, abs=1e-10)
    by_hand.check({"critics": soft_update(by_hand.slow["critics"], by_hand.nets["critics"], TAU)})
