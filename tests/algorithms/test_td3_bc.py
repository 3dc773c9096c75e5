import numpy as np
import pytest
import torch

from algorithms import tiny
from algorithms.golden import assert_same
from algorithms.td3_working import DATA, MAX_ACTION, NUM_ROWS, Working, walk

ALPHA = 2.5


def test_golden_updates() -> None:
    """Two updates of arXiv:2106.06860: critics in both, actor and targets in the second only (`policy_freq` 2).

    As in the published code, lambda is made of Q1 at the policy's actions, the squared error is a mean over batch and
    dimensions, and Q1 is that of this update's critic.
    """
    policy = tiny.make_policy("td3_bc", max_action=MAX_ACTION)
    working = Working(policy)

    losses = working.step_critics()
    assert walk(policy) == pytest.approx(losses, abs=1e-10)
    working.check()

    losses = working.step_critics()
    pi, inputs = working.act()
    q, to_act = working.judge("critic1", pi)
    weight = ALPHA / np.mean(abs(q))
    losses["bc_loss"] = np.mean((pi - DATA["act"]) ** 2)
    losses["actor_loss"] = -weight * np.mean(q) + losses["bc_loss"]
    d_pi = to_act(np.full_like(q, -weight / NUM_ROWS)) + 2 * (pi - DATA["act"]) / pi.size
    working.step_actor(inputs, pi, d_pi)
    working.synchronise()
    assert walk(policy) == pytest.approx(losses, abs=1e-10)
    working.check()


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
