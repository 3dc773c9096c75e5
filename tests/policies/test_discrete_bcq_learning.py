from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn
from torch.optim import SGD
from torch.testing import assert_close

from bcq_exp.data import ReplayBuffer
from bcq_exp.policies import DiscreteBCQPolicy

MakeDiscrete = Callable[..., DiscreteBCQPolicy]
Table = Callable[[Any], nn.Linear]
Columns = dict[str, Any]

exactly = partial(assert_close, rtol=0, atol=0)


def states(*rows: int, num: int = 3) -> NDArray[np.float64]:
    """One-hot observations."""
    return np.eye(num)[list(rows)]


def transition(obs: NDArray[Any], obs_next: NDArray[Any], **changed: Any) -> Columns:
    """Transitions by action 0 without reward that go on."""
    zeros = np.zeros(len(obs))
    flags = {"terminated": zeros, "truncated": zeros}
    return {"obs": obs, "act": zeros, "rew": zeros, **flags, "obs_next": obs_next, **changed}


# ------------------------------------------------------------------ the target


@pytest.mark.parametrize(
    ("arguments", "mask_next", "value"),
    [
        ({"unlikely_action_threshold": 0}, None, 10),  # the online network prefers action 0
        ({"unlikely_action_threshold": 0, "is_double": False}, None, 30),  # the target network action 2
        ({"unlikely_action_threshold": 0.3}, None, 20),  # action 0 is unlikely
        ({"unlikely_action_threshold": 0.3, "is_double": False}, None, 30),
        ({"unlikely_action_threshold": 1}, None, 20),
        ({"unlikely_action_threshold": 0}, [0, 1, 1], 20),
        ({"unlikely_action_threshold": 0, "is_double": False}, [1, 1, 0], 20),
        ({"unlikely_action_threshold": 1}, [1, 0, 1], 30),
        ({"unlikely_action_threshold": 0, "target_update_freq": 0}, None, 3),
    ],
)
def test_the_choice_of_the_next_action_by_hand(
    make_discrete: MakeDiscrete, table: Table, arguments: Columns, mask_next: list[int] | None, value: float
) -> None:
    policy = make_discrete(
        model=table([[10.0, 20.0, 30.0]]), imitator=table(np.log([[0.1, 1.0, 0.5]])), discount_factor=0.5, **arguments
    )
    policy.nets["model"].weight.data.copy_(torch.tensor([[3.0], [2.0], [1.0]]))
    obs, rew = np.ones((1, 1)), np.array([7.0])
    masks = [{}] if mask_next is None else [{"mask_next": [mask_next]}, {"obs_next": {"obs": obs, "mask": [mask_next]}}]
    for masked in masks:
        policy.nets["model"].weight.data.copy_(torch.tensor([[3.0], [2.0], [1.0]]))
        stats = policy.learn(transition(obs, obs, rew=rew) | masked)
        assert stats.q_loss == pytest.approx((3 - (7 + 0.5 * value)) ** 2)
        if mask_next is not None:
            column = np.array([mask_next], bool)
            buffer = ReplayBuffer(**transition(obs, obs, rew=rew, act=[0]), mask=np.ones_like(column), mask_next=column)
            policy.nets["model"].weight.data.copy_(torch.tensor([[3.0], [2.0], [1.0]]))
            assert policy.update(0, buffer).q_loss == pytest.approx((3 - (7 + 0.5 * value)) ** 2)


REW = np.array([1.0, 2, 4, 8, 16, 32, 64])


def chain() -> ReplayBuffer:
    """States 0 to 7 in a row: terminated in row 2, truncated in row 5, cut after row 6."""
    return ReplayBuffer(
        **transition(states(*range(7), num=8), states(*range(1, 8), num=8), rew=REW)
        | {
            "act": np.zeros(7, int),
            "terminated": np.arange(7) == 2,
            "truncated": np.arange(7) == 5,
        }
    )


# V(s) = 10 s, gamma = 0.5
RETURNS = {
    1: [1 + 5, 2 + 10, 4, 8 + 20, 16 + 25, 32 + 30, 64 + 35],
    2: [1 + 1 + 5, 2 + 2, 4, 8 + 8 + 12.5, 16 + 16 + 15, 32 + 30, 64 + 35],
    3: [1 + 1 + 1, 2 + 2, 4, 8 + 8 + 8 + 7.5, 16 + 16 + 15, 32 + 30, 64 + 35],
}


@pytest.mark.parametrize("num_steps", [1, 2, 3])
def test_n_step_returns_by_hand(make_discrete: MakeDiscrete, table: Table, num_steps: int) -> None:
    def make() -> DiscreteBCQPolicy:
        q = np.stack([10.0 * np.arange(8), np.full(8, -1.0)], 1)
        return make_discrete(
            model=table(q), imitator=table(np.zeros((8, 2))), discount_factor=0.5, estimation_step=num_steps
        )

    policy, buffer = make(), chain()
    rows = torch.tensor([4, 0, 2, 1, 6, 3, 5])
    batch = policy.process_fn(buffer[rows], buffer, rows)
    assert batch.returns.tolist() == [RETURNS[num_steps][row] for row in rows]
    exactly(batch.rew, buffer.rew[rows])

    q_loss = np.mean((10 * np.arange(7) - np.array(RETURNS[num_steps])) ** 2)
    assert policy.update(0, buffer).q_loss == pytest.approx(q_loss)
    by_hand = make()
    assert by_hand.learn(buffer[torch.arange(7)] | {"returns": RETURNS[num_steps]}).q_loss == pytest.approx(q_loss)
    exactly(policy.state_dict(), by_hand.state_dict())


def test_one_step_update_equals_learning_on_the_plain_batch(make_discrete: MakeDiscrete, discrete: Columns) -> None:
    updating, learning = make_discrete(), make_discrete()
    buffer, twin = (ReplayBuffer(**discrete, seed=3) for _ in range(2))
    for _ in range(3):
        assert updating.update(16, buffer).loss == learning.learn(twin.sample(16)[0]).loss
    exactly(updating.state_dict(), learning.state_dict())


# ------------------------------------------------------------------ target network


def is_synchronised(policy: DiscreteBCQPolicy) -> bool:
    pairs = zip(policy.targets["model"].parameters(), policy.nets["model"].parameters(), strict=True)
    return all(torch.equal(target, online) for target, online in pairs)


def test_the_target_is_copied_after_every_kth_update(make_discrete: MakeDiscrete, discrete: Columns) -> None:
    policy, synchronised = make_discrete(target_update_freq=3), []
    for _ in range(7):
        policy.learn(discrete)
        synchronised.append(is_synchronised(policy))
    assert synchronised == [False, False, True, False, False, True, False]
    policy.sync_weight()
    assert is_synchronised(policy)


def test_the_counter_of_updates_is_part_of_the_state(make_discrete: MakeDiscrete, discrete: Columns) -> None:
    policy, fresh = make_discrete(target_update_freq=3), make_discrete(seed=1, target_update_freq=3)
    for _ in range(2):
        policy.learn(discrete)
    fresh.load_state_dict(policy.state_dict())
    assert not is_synchronised(fresh)
    fresh.learn(discrete)
    assert is_synchronised(fresh)


def test_no_target_network(make_discrete: MakeDiscrete, discrete: Columns) -> None:
    policy = make_discrete(target_update_freq=0)
    assert not any("target" in name for name in policy.state_dict())
    policy.sync_weight()
    policy.learn(discrete)
    assert policy.targets_view()["model"].module is policy.nets["model"]


# ------------------------------------------------------------------ losses

Q = [[1.0, 3.0, 2.0], [9.0, 1.0, 5.0], [4.0, 4.0, 0.0]]
LOGITS = np.array([[2.0, -1.0, 0.5], [0.25, 1.0, 0.5], [1.0, 0.1, -3.0]])


def test_the_penalty_pulls_raw_logits_to_zero(make_discrete: MakeDiscrete, table: Table) -> None:
    weights = {}
    for penalty in (0.0, 0.6):
        policy = make_discrete(
            model=table(Q), imitator=table(LOGITS), imitation_logits_penalty=penalty, optimizer=partial(SGD, lr=1.0)
        )
        stats = policy.learn(transition(states(0, 2), states(0, 2)))
        log_prob = LOGITS[[0, 2], 0] - np.log(np.exp(LOGITS[[0, 2]]).sum(1))
        assert stats.i_loss == pytest.approx(-log_prob.mean(), rel=1e-5)
        assert stats.reg_loss == pytest.approx((LOGITS[[0, 2]] ** 2).mean(), rel=1e-5)
        assert stats.loss == pytest.approx(stats.q_loss + stats.i_loss + penalty * stats.reg_loss)
        weights[penalty] = policy.nets["imitator"].weight.detach().numpy().T
    pulled = weights[0.0] - weights[0.6]
    np.testing.assert_allclose(pulled, 0.6 * 2 / 6 * LOGITS * np.array([[1], [0], [1]]), rtol=1e-4, atol=1e-6)


def test_clip_loss_grad_bounds_the_gradient(make_discrete: MakeDiscrete, table: Table) -> None:
    gradients, losses = {}, {}
    batch = transition(states(0, 1), states(0, 1), terminated=[1, 1], rew=np.array([101.0, 8.5]))  # errors -100, 0.5
    for is_clipped in (False, True):
        policy = make_discrete(model=table(Q), imitator=table(LOGITS), clip_loss_grad=is_clipped)
        losses[is_clipped] = policy.learn(batch).q_loss
        gradients[is_clipped] = policy.nets["model"].weight.grad[0, :2].tolist()
    assert gradients == {False: [-100, 0.5], True: [-0.5, 0.25]}
    assert losses == {False: pytest.approx((100**2 + 0.5**2) / 2), True: pytest.approx((99.5 + 0.125) / 2)}


# ------------------------------------------------------------------ normalisation


def test_reward_normalization_by_hand(make_discrete: MakeDiscrete, table: Table) -> None:
    q = np.stack([np.arange(8.0), np.full(8, -9.0)], 1)
    policy = make_discrete(
        model=table(q), imitator=table(np.zeros((8, 2))), discount_factor=0.5, reward_normalization=True
    )
    buffer = chain()
    for learn in (lambda: policy.learn(buffer[torch.arange(7)]), lambda: policy.update(4, buffer)):
        with pytest.raises(ValueError, match=r"needs the dataset's statistics: call prepare\(buffer\) first"):
            learn()
    policy.prepare(buffer)
    monte_carlo = np.array([3.0, 4, 4, 24, 32, 32, 64])
    mean, std = monte_carlo.mean(), monte_carlo.std()
    assert (policy.return_mean.item(), policy.return_std.item()) == (pytest.approx(mean), pytest.approx(std))
    np.testing.assert_allclose(policy({"obs": np.eye(8)}).q_value, mean + std * q, rtol=1e-5)

    value = np.where(np.arange(7) == 2, 0, mean + std * np.arange(1.0, 8))
    y = REW + 0.5 * value
    rows = torch.arange(7)
    np.testing.assert_allclose(policy.process_fn(buffer[rows], buffer, rows).returns, y, rtol=1e-5)
    q_loss = np.mean((np.arange(7) - (y - mean) / std) ** 2)
    state = {name: tensor.clone() for name, tensor in policy.state_dict().items()}
    assert policy.learn(buffer[rows]).q_loss == pytest.approx(q_loss, rel=1e-5)
    policy.load_state_dict(state)
    assert policy.update(0, buffer).q_loss == pytest.approx(q_loss, rel=1e-5)

    fresh = make_discrete(model=table(q), imitator=table(q), reward_normalization=True)
    fresh.load_state_dict(state)
    fresh.learn(buffer[rows])  # the statistics came with the state
    assert fresh.return_std == policy.return_std


def test_equal_returns_cannot_be_normalised(make_discrete: MakeDiscrete, discrete: Columns) -> None:
    policy = make_discrete(reward_normalization=True)
    with pytest.raises(ValueError, match=r"all discounted returns equal 1; set it to false"):
        policy.prepare(ReplayBuffer(**discrete | {"rew": np.ones(40), "terminated": np.ones(40)}))
