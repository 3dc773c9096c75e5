import numpy as np
import pytest
import torch

from algorithms import tiny
from algorithms.golden import Adam, Array, Weights, assert_same, backward, cat, forward, n_step_targets, soft_update

GAMMA, TAU, MAX_ACTION = 0.9, 0.3, 1.5
DATA = tiny.data(is_discrete=False)
NUM_ROWS = len(DATA["rew"])


class Judgement:
    """Q(s, a) of a critic whose action enters the given layer, (B, 1), and its gradients."""

    def __init__(self, net: Weights, s: Array, a: Array, action_layer: int) -> None:
        self.s, self.own, self.others = s, net[: 2 * (action_layer - 1)], net[2 * (action_layer - 1) :]
        self.features = np.maximum(s @ self.own[0].T + self.own[1], 0) if self.own else s
        self.q, self.inputs = forward(self.others, cat(self.features, a))

    def gradients(self, d_q: Array) -> tuple[Weights, Array]:
        """dL/d(each array), and dL/d(action)."""
        grads, d_pair = backward(self.others, self.inputs, d_q)
        d_features, d_act = np.split(d_pair, [self.features.shape[-1]], -1)
        d_raw = d_features * (self.features > 0)
        return [d_raw.T @ self.s, d_raw.sum(0), *grads] if self.own else grads, d_act


@pytest.mark.parametrize("action_layer", [1, 2])
def test_golden_update(action_layer: int) -> None:
    """One update of arXiv:1509.02971, algorithm 1: critic, actor on the critic that has just learned, both targets."""
    policy = tiny.make_policy("ddpg", max_action=MAX_ACTION, action_layer=action_layer)
    s, a = DATA["obs"], DATA["act"]
    nets = {name: tiny.arrays(net) for name, net in policy.nets.items()}
    slow = {name: tiny.arrays(net) for name, net in policy.targets.items()}
    grads = {}

    stats = policy.learn(DATA)

    def value(row: int) -> float:
        s_next = DATA["obs_next"][row]
        act = MAX_ACTION * np.tanh(forward(slow["actor"], s_next)[0])
        return Judgement(slow["critic"], s_next, act, action_layer).q[0]

    y = n_step_targets(DATA, value, gamma=GAMMA)[:, None]
    logged = Judgement(nets["critic"], s, a, action_layer)
    losses = {"critic_loss": np.mean((logged.q - y) ** 2)}
    grads["critic"], _ = logged.gradients(2 * (logged.q - y) / NUM_ROWS)
    nets["critic"] = Adam(tiny.LR).step(nets["critic"], grads["critic"])

    raw, inputs = forward(nets["actor"], s)
    own = Judgement(nets["critic"], s, MAX_ACTION * np.tanh(raw), action_layer)
    losses["actor_loss"] = -np.mean(own.q)
    _, d_act = own.gradients(np.full_like(own.q, -1 / NUM_ROWS))
    d_raw = d_act * MAX_ACTION * (1 - np.tanh(raw) ** 2)
    grads["actor"], _ = backward(nets["actor"], inputs, d_raw)
    nets["actor"] = Adam(tiny.LR).step(nets["actor"], grads["actor"])

    assert stats.smoothed_loss == pytest.approx(losses, abs=1e-10)
    assert nets.keys() == policy.nets.keys() == policy.targets.keys()
    for name in nets:
        assert_same(tiny.gradients(policy.nets[name]), grads[name])
        assert_same(tiny.arrays(policy.nets[name]), nets[name])
        assert_same(tiny.arrays(policy.targets[name]), soft_update(slow[name], nets[name], TAU))


def test_it_is_td3_without_twin_delay_and_noise() -> None:
    ddpg = tiny.make_policy("ddpg")
    td3 = tiny.make_policy("td3", policy_freq=1, policy_noise=0.0)
    pairs = {"actor": "actor", "critic1": "critic", "critic2": "critic"}
    for nets, others in ((td3.nets, ddpg.nets), (td3.targets, ddpg.targets)):
        for name, other in pairs.items():
            nets[name].load_state_dict(others[other].state_dict())
    for _ in range(3):
        td3.learn(DATA)
        ddpg.learn(DATA)
    for name, other in pairs.items():
        assert_same(tiny.arrays(td3.nets[name]), tiny.arrays(ddpg.nets[other]))


def test_the_actor_climbs_its_critic() -> None:
    """Where the critic stands still, each step of the actor raises the value of its actions."""
    policy = tiny.make_policy("ddpg")
    for group in policy.optimizers["critic"].param_groups:
        group["lr"] = 0.0
    values = [policy.learn(DATA).smoothed_loss["actor_loss"]]
    policy.smoothed_loss.clear()
    for _ in range(20):
        policy.learn(DATA)
    s = torch.as_tensor(DATA["obs"])
    assert -policy.nets["critic"](s, policy.nets["actor"](s)).mean() < values[0]
