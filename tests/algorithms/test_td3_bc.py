import numpy as np
import pytest
import torch

from algorithms import tiny
from algorithms.golden import Adam, Weights, assert_same, backward, cat, forward, n_step_targets, soft_update
from bcq_exp.policies import Policy

GAMMA, TAU, ALPHA, POLICY_NOISE, NOISE_CLIP, MAX_ACTION = 0.9, 0.3, 2.5, 0.4, 0.3, 1.5
CRITICS = ("critic1", "critic2")
DATA = tiny.data(is_discrete=False)
NUM_ROWS = len(DATA["rew"])


def test_golden_updates() -> None:
    """Two updates of arXiv:2106.06860: critics in both, actor and targets in the second only (`policy_freq` 2).

    As in the published code, lambda is made of Q1 at the policy's actions, the squared error is a mean over batch and
    dimensions, and Q1 is that of this update's critic.
    """
    policy = tiny.make_policy("td3_bc", max_action=MAX_ACTION)
    s, a = DATA["obs"], DATA["act"]
    nets = {name: tiny.arrays(net) for name, net in policy.nets.items()}
    slow = {name: tiny.arrays(net) for name, net in policy.targets.items()}
    optimizers = {name: Adam(tiny.LR) for name in nets}
    stream = tiny.replay(policy)

    def step_critics() -> dict[str, float]:
        """R + gamma min_j Q_j'(s', clip(pi'(s') + clipped noise)), and a step of each critic towards it."""
        scaled = POLICY_NOISE * torch.randn(NUM_ROWS, tiny.ACT_DIM, generator=stream).numpy()
        assert 0 < (abs(scaled) > NOISE_CLIP).mean() < 1, "the clip shall act on some of the noise, and not on all"
        noise = MAX_ACTION * scaled.clip(-NOISE_CLIP, NOISE_CLIP)

        def value(row: int) -> float:
            s_next = DATA["obs_next"][row]
            act = MAX_ACTION * np.tanh(forward(slow["actor"], s_next)[0]) + noise[row]
            pair = cat(s_next, act.clip(-MAX_ACTION, MAX_ACTION))
            return min(forward(slow[name], pair)[0][0] for name in CRITICS)

        y = n_step_targets(DATA, value, gamma=GAMMA)[:, None]
        losses = {}
        for name in CRITICS:
            q, inputs = forward(nets[name], cat(s, a))
            losses[f"{name}_loss"] = np.mean((q - y) ** 2)
            grads, _ = backward(nets[name], inputs, 2 * (q - y) / NUM_ROWS)
            nets[name] = optimizers[name].step(nets[name], grads)
        return losses

    losses = step_critics()
    assert walk(policy) == pytest.approx(losses, abs=1e-10)
    check(policy, nets, slow)

    losses = step_critics()
    raw, actor_inputs = forward(nets["actor"], s)
    pi = MAX_ACTION * np.tanh(raw)
    q, critic_inputs = forward(nets["critic1"], cat(s, pi))
    weight = ALPHA / np.mean(abs(q))
    losses["bc_loss"] = np.mean((pi - a) ** 2)
    losses["actor_loss"] = -weight * np.mean(q) + losses["bc_loss"]
    _, d_pair = backward(nets["critic1"], critic_inputs, np.full_like(q, -weight / NUM_ROWS))
    d_pi = d_pair[:, tiny.OBS_DIM :] + 2 * (pi - a) / a.size
    grads, _ = backward(nets["actor"], actor_inputs, d_pi * MAX_ACTION * (1 - np.tanh(raw) ** 2))
    nets["actor"] = optimizers["actor"].step(nets["actor"], grads)
    slow = {name: soft_update(slow[name], nets[name], TAU) for name in slow}
    assert walk(policy) == pytest.approx(losses, abs=1e-10)
    check(policy, nets, slow)
    assert_same(tiny.gradients(policy.nets["actor"]), grads)
    for name in CRITICS:
        assert_same(tiny.gradients(policy.nets[name]), optimizers[name].history[-1])


def walk(policy: Policy) -> dict[str, float]:
    """The losses of one update."""
    policy.smoothed_loss.clear()  # so that the moving average is the last value
    return policy.learn(DATA).smoothed_loss


def check(policy: Policy, nets: dict[str, Weights], slow: dict[str, Weights]) -> None:
    for found, expected in ((policy.nets, nets), (policy.targets, slow)):
        assert found.keys() == expected.keys()
        for name in expected:
            assert_same(tiny.arrays(found[name]), expected[name])


def test_without_the_value_term_the_actor_clones() -> None:
    """Alpha 0 leaves behavioural cloning: the same steps of the actor as `bc` on the same weights."""
    policy, clone = tiny.make_policy("td3_bc", alpha=0.0, policy_freq=1), tiny.make_policy("bc")
    clone.nets["actor"].load_state_dict(policy.nets["actor"].state_dict())
    for _ in range(3):
        policy.learn(DATA)
        clone.learn(DATA)
    assert_same(tiny.arrays(policy.nets["actor"]), tiny.arrays(clone.nets["actor"]))


def test_scale_of_the_value_does_not_move_the_actor() -> None:
    """Lambda divides by mean |Q|: ten times the values, the same gradient."""
    steps = []
    for scale in (1.0, 10.0):
        policy = tiny.make_policy("td3_bc", policy_freq=1)
        with torch.no_grad():
            *_, weight, bias = policy.nets["critic1"].parameters()
            weight.mul_(scale)
            bias.mul_(scale)
        stage = policy.algorithm.stages[1]
        columns = {"obs": torch.as_tensor(DATA["obs"]), "act": torch.as_tensor(DATA["act"])}
        loss, _ = stage.loss(policy.losses_view(), policy.targets_view(), columns, {}, policy.hp)
        steps.append([grad.numpy() for grad in torch.autograd.grad(loss, list(policy.nets["actor"].parameters()))])
    assert_same(*steps)
