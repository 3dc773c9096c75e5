import numpy as np
import pytest
import torch

from algorithms import tiny
from algorithms.golden import assert_same
from algorithms.td3_working import DATA, GAMMA, MAX_ACTION, NUM_ROWS, Working, walk
from bcq_exp.algorithms import td3


def test_golden_updates() -> None:
    """Two updates of arXiv:1802.09477: critics in both, actor and targets in the second only (`policy_freq` 2)."""
    policy = tiny.make_policy("td3", max_action=MAX_ACTION)
    working = Working(policy)

    losses = working.step_critics()
    assert walk(policy) == pytest.approx(losses, abs=1e-10)
    working.check()

    losses = working.step_critics()
    pi, inputs = working.act()
    q, to_act = working.judge("critic1", pi)
    losses["actor_loss"] = -np.mean(q)
    working.step_actor(inputs, pi, to_act(np.full_like(q, -1 / NUM_ROWS)))
    working.synchronise()
    assert walk(policy) == pytest.approx(losses, abs=1e-10)
    working.check()


def test_the_target_never_exceeds_that_of_either_critic() -> None:
    policy = tiny.make_policy("td3")
    batch, noise = {"obs_next": torch.randn(50, tiny.OBS_DIM)}, {"eps": torch.randn(50, tiny.ACT_DIM)}
    act = td3.smoothed_action(policy.targets_view(), batch, noise, policy.hp, 1.0)
    found = td3.smallest_value(policy.targets_view(), batch["obs_next"], act)
    for name in ("critic1", "critic2"):
        q = policy.targets[name](batch["obs_next"], act)
        assert (found <= q).all()
        assert (found < q).any()
    assert act.abs().max() == 1.0


def test_smoothing_moves_an_action_by_no_more_than_its_clip() -> None:
    policy = tiny.make_policy("td3", policy_noise=10.0, noise_clip=0.3)
    with torch.no_grad():  # the target policy stands at zero, far from the bounds
        for param in policy.targets["actor"].parameters():
            param.zero_()
    batch, noise = {"obs_next": torch.randn(50, tiny.OBS_DIM)}, {"eps": torch.randn(50, tiny.ACT_DIM)}
    act = td3.smoothed_action(policy.targets_view(), batch, noise, policy.hp, 1.5)
    assert act.abs().max() == pytest.approx(0.3 * 1.5)
    assert torch.equal(act.sign(), noise["eps"].sign())


def test_a_terminal_row_learns_its_reward() -> None:
    """With every row terminal the targets are the rewards, whatever the discount."""
    terminal = {**DATA, "terminated": np.ones(NUM_ROWS, np.bool_)}
    policies = [tiny.make_policy("td3", gamma=gamma) for gamma in (GAMMA, 0.0)]
    for policy in policies:
        policy.learn(terminal)
    assert_same(*(tiny.arrays(policy.nets["critic1"]) for policy in policies))
