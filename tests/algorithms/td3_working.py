"""The part of arXiv:1802.09477 that algorithms share, worked out in numpy for `tiny.data`, update after update."""

from collections.abc import Callable, Mapping
from typing import TypeAlias

import numpy as np
import torch

from algorithms import tiny
from algorithms.golden import Adam, Array, Weights, assert_same, backward, cat, forward, n_step_targets, soft_update
from bcq_exp.policies import Policy

GAMMA, TAU, POLICY_NOISE, NOISE_CLIP, MAX_ACTION = 0.9, 0.3, 0.4, 0.3, 1.5  # the first four as in `tiny.CONFIGS`
CRITICS = ("critic1", "critic2")
DATA = tiny.data(is_discrete=False)
NUM_ROWS = len(DATA["rew"])
EVENLY = np.full(NUM_ROWS, 1 / NUM_ROWS)

Losses: TypeAlias = dict[str, float]
Penalty: TypeAlias = Callable[[int, Array], float]


class Working:
    """A policy's networks, targets and optimizers by hand; each method is a stage, and the losses it reports.

    Args:
        policy: before its first update, of an algorithm with the names of `td3`.
        forward_critic, backward_critic: as in `golden`, where the critics are other than rectified layers.
    """

    def __init__(
        self,
        policy: Policy,
        forward_critic: Callable[[Weights, Array], tuple[Array, list[Array]]] = forward,
        backward_critic: Callable[[Weights, list[Array], Array], tuple[Weights, Array]] = backward,
    ) -> None:
        self.policy, self.forward, self.backward = policy, forward_critic, backward_critic
        self.nets = {name: tiny.arrays(net) for name, net in policy.nets.items()}
        self.slow = {name: tiny.arrays(net) for name, net in policy.targets.items()}
        self.optimizers = {name: Adam(tiny.LR) for name in self.nets}
        self.stream = tiny.replay(policy)

    def step_critics(self, penalty: Penalty = lambda row, act: 0.0, weights: Array = EVENLY) -> Losses:
        """r + gamma [min_j Q_j'(s', a') - penalty] with a' = clip(pi'(s') + clipped noise), a step of each critic.

        Args:
            penalty: of the action a' after a row.
            weights: of the rows in the mean square.
        """
        scaled = POLICY_NOISE * torch.randn(NUM_ROWS, tiny.ACT_DIM, generator=self.stream).numpy()
        assert 0 < (abs(scaled) > NOISE_CLIP).mean() < 1, "the clip shall act on some of the noise, and not on all"
        noise = MAX_ACTION * scaled.clip(-NOISE_CLIP, NOISE_CLIP)

        def value(row: int) -> float:
            s_next = DATA["obs_next"][row]
            act = MAX_ACTION * np.tanh(forward(self.slow["actor"], s_next)[0]) + noise[row]
            act = act.clip(-MAX_ACTION, MAX_ACTION)
            pair = cat(s_next, act)
            return min(self.forward(self.slow[name], pair)[0][0] for name in CRITICS) - penalty(row, act)

        y = n_step_targets(DATA, value, gamma=GAMMA)[:, None]
        losses = {}
        for name in CRITICS:
            q, inputs = self.forward(self.nets[name], cat(DATA["obs"], DATA["act"]))
            losses[f"{name}_loss"] = weights @ (q[:, 0] - y[:, 0]) ** 2
            grads, _ = self.backward(self.nets[name], inputs, 2 * (q - y) * weights[:, None])
            self.nets[name] = self.optimizers[name].step(self.nets[name], grads)
        return losses

    def act(self) -> tuple[Array, list[Array]]:
        """pi(s), and what `step_actor` needs to know of it."""
        raw, inputs = forward(self.nets["actor"], DATA["obs"])
        return MAX_ACTION * np.tanh(raw), inputs

    def step_actor(self, inputs: list[Array], pi: Array, d_pi: Array) -> None:
        """A step along dL/d(pi)."""
        d_raw = d_pi * MAX_ACTION * (1 - (pi / MAX_ACTION) ** 2)
        grads, _ = backward(self.nets["actor"], inputs, d_raw)
        self.nets["actor"] = self.optimizers["actor"].step(self.nets["actor"], grads)

    def judge(self, name: str, pi: Array) -> tuple[Array, Callable[[Array], Array]]:
        """Q(s, pi), (B, 1), and the map from dL/dQ to dL/d(pi)."""
        q, inputs = self.forward(self.nets[name], cat(DATA["obs"], pi))
        return q, lambda d_q: self.backward(self.nets[name], inputs, d_q)[1][:, tiny.OBS_DIM :]

    def synchronise(self) -> None:
        self.slow = {name: soft_update(self.slow[name], self.nets[name], TAU) for name in self.slow}

    def check(self) -> None:
        """That the policy holds the same weights, targets and last gradients."""
        for found, expected in ((self.policy.nets, self.nets), (self.policy.targets, self.slow)):
            assert found.keys() == expected.keys()
            for name in expected:
                assert_same(tiny.arrays(found[name]), expected[name])
        for name, optimizer in self.optimizers.items():
            if optimizer.history:
                assert_same(tiny.gradients(self.policy.nets[name]), optimizer.history[-1])


def walk(policy: Policy, data: Mapping[str, object] = DATA) -> Losses:
    """The losses of one update."""
    policy.smoothed_loss.clear()  # so that the moving average is the last value
    return policy.learn(data).smoothed_loss
