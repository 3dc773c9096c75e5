import numpy as np
import pytest
import torch

from algorithms import tiny
from algorithms.golden import Array, Weights, assert_same
from algorithms.td3_working import CRITICS, DATA, MAX_ACTION, NUM_ROWS, Working, walk
from bcq_exp.data import ReplayBuffer
from bcq_exp.policies import Policy

ACTOR_PENALTY, CRITIC_PENALTY, NORM_EPS = 0.4, 0.3, 1e-6
NEXT = tiny.with_next_actions(DATA)


def forward(net: Weights, x: Array) -> tuple[Array, list[Array]]:
    """Layers W, b, scale, shift: linear, rectified, then normalised over its units; the last is linear alone."""
    kept = [x]
    for w, b, scale, shift in zip(net[:-2:4], net[1:-2:4], net[2:-2:4], net[3:-2:4], strict=True):
        hidden = np.maximum(x @ w.T + b, 0)
        mean, var = hidden.mean(-1, keepdims=True), hidden.var(-1, keepdims=True)
        normal = (hidden - mean) / np.sqrt(var + NORM_EPS)
        x = scale * normal + shift
        kept += [hidden, normal, np.sqrt(var + NORM_EPS), x]
    return x @ net[-2].T + net[-1], kept


def backward(net: Weights, kept: list[Array], d_out: Array) -> tuple[Weights, Array]:
    """From dL/d(output) to dL/d(each array) and dL/d(input)."""
    grads: Weights = [d_out.T @ kept[-1], d_out.sum(0)]
    d_out = d_out @ net[-2]
    for layer in reversed(range((len(net) - 2) // 4)):
        x, hidden, normal, std, _ = kept[4 * layer : 4 * layer + 5]
        w, _, scale, _ = net[4 * layer : 4 * layer + 4]
        d_scale, d_shift, d_normal = (d_out * normal).sum(0), d_out.sum(0), d_out * scale
        centred = d_normal - d_normal.mean(-1, keepdims=True)
        d_hidden = (centred - normal * (d_normal * normal).mean(-1, keepdims=True)) / std * (hidden > 0)
        grads = [d_hidden.T @ x, d_hidden.sum(0), d_scale, d_shift, *grads]
        d_out = d_hidden @ w
    return grads, d_out


def make_policy(**changed: float) -> Policy:
    policy = tiny.make_policy("rebrac", max_action=MAX_ACTION, **changed)
    with torch.no_grad():  # scales and shifts that are not one and zero
        for nets in (policy.nets, policy.targets):
            for param in (param for name in CRITICS for param in nets[name].parameters() if param.ndim == 1):
                param.add_(torch.randn_like(param))
        s = torch.as_tensor(DATA["obs"])
        q1, q2 = (policy.nets[name](s, policy.nets["actor"](s)) for name in CRITICS)
        list(policy.nets["critic2"].parameters())[-1].add_((q1 - q2).median())  # so that each is the smaller at times
    return policy


def test_golden_updates() -> None:
    """Two updates of arXiv:2305.09836: critics in both, actor and targets in the second only (`policy_freq` 2).

    As in the published code, rows without a known next action do not train the critics, but terminal ones do; Q in
    the actor's loss is the smaller of both critics; distances are sums over dimensions.
    """
    policy = make_policy()
    working = Working(policy, forward, backward)
    trains = tiny.GOES_ON | tiny.TERMINATED
    assert 0 < trains.sum() < NUM_ROWS

    def penalty(row: int, act: Array) -> float:
        return CRITIC_PENALTY * sum((act - NEXT["act_next"][row]) ** 2)

    losses = working.step_critics(penalty, trains / trains.sum())
    assert walk(policy, NEXT) == pytest.approx(losses, abs=1e-10)
    working.check()

    losses = working.step_critics(penalty, trains / trains.sum())
    pi, inputs = working.act()
    (q1, to_act1), (q2, to_act2) = (working.judge(name, pi) for name in CRITICS)
    is_first = q1 < q2
    assert 0 < is_first.mean() < 1
    weight = 1 / np.mean(abs(np.minimum(q1, q2)))
    losses["bc_loss"] = ((pi - DATA["act"]) ** 2).sum() / NUM_ROWS
    losses["actor_loss"] = ACTOR_PENALTY * losses["bc_loss"] - weight * np.mean(np.minimum(q1, q2))
    d_pi = to_act1(-weight * is_first / NUM_ROWS) + to_act2(-weight * ~is_first / NUM_ROWS)
    working.step_actor(inputs, pi, d_pi + ACTOR_PENALTY * 2 * (pi - DATA["act"]) / NUM_ROWS)
    working.synchronise()
    assert walk(policy, NEXT) == pytest.approx(losses, abs=1e-10)
    working.check()


def test_the_buffers_window_has_what_it_wants() -> None:
    """Rows of the buffer: the policy learns the same from them as from columns that are made by hand."""
    buffer = ReplayBuffer(**DATA)
    by_hand, by_buffer = make_policy(), make_policy()
    by_buffer.load_state_dict(by_hand.state_dict())
    by_hand.learn(NEXT)
    by_buffer.update(0, buffer)
    for name in CRITICS:
        assert_same(tiny.arrays(by_hand.nets[name]), tiny.arrays(by_buffer.nets[name]))


def test_a_row_before_a_dropped_one_trains_the_critics_with_the_action_that_was_dropped() -> None:
    """Where a reader has dropped a row at each cut, its column of next actions has an action there."""
    after = np.where(tiny.GOES_ON[:, None], NEXT["act_next"], 0.5)
    by_hand, by_buffer = make_policy(), make_policy()
    by_buffer.load_state_dict(by_hand.state_dict())
    by_hand.learn({**DATA, "act_next": after, "has_act_next": ~tiny.TERMINATED})
    by_buffer.update(0, ReplayBuffer(**DATA, act_next=after))
    for name in CRITICS:
        assert_same(tiny.arrays(by_hand.nets[name]), tiny.arrays(by_buffer.nets[name]))


def test_actions_behind_a_cut_do_not_matter() -> None:
    changed = np.where(tiny.GOES_ON[:, None], NEXT["act_next"], 99.0)
    policies = [make_policy() for _ in range(2)]
    policies[1].load_state_dict(policies[0].state_dict())
    for policy, act_next in zip(policies, (NEXT["act_next"], changed), strict=True):
        policy.learn({**NEXT, "act_next": act_next})
    assert_same(*(tiny.arrays(policy.nets["critic1"]) for policy in policies))


def test_without_penalty_and_cut_rows_the_critics_learn_as_those_of_td3() -> None:
    policy = make_policy(critic_penalty=0.0)
    whole = {**NEXT, "has_act_next": np.ones(NUM_ROWS, np.bool_)}
    stage, td3 = policy.algorithm.stages[0], tiny.make_policy("td3", max_action=MAX_ACTION).algorithm.stages[0]
    columns = {name: torch.as_tensor(column) for name, column in whole.items()}
    columns |= {"rew": columns["rew"][:, None], "num_steps": torch.ones(NUM_ROWS, dtype=torch.long)}
    noise = {"eps": torch.randn(NUM_ROWS, tiny.ACT_DIM)}
    ours, theirs = (
        one.loss(policy.losses_view(), policy.targets_view(), columns, noise, policy.hp)[0] for one in (stage, td3)
    )
    torch.testing.assert_close(ours, theirs)


def test_a_batch_without_next_actions_is_refused() -> None:
    with pytest.raises(ValueError, match="batch lacks act_next, has_act_next"):
        make_policy().learn(DATA)
