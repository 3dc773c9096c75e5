import numpy as np
import pytest
import torch

from algorithms import golden, tiny
from algorithms.discrete_working import (
    CHOICES,
    DATA,
    GAMMA,
    NUM_ACTIONS,
    ROWS,
    best_available,
    check_steps,
    masked_observations,
)
from algorithms.golden import Array, assert_same, backward, forward
from bcq_exp.algorithms.rem import REMConfig
from bcq_exp.data import ReplayBuffer
from bcq_exp.fields import violations

NUM_HEADS = 3  # as in `tiny.CONFIGS`


def mixed(net: golden.Weights, alpha: Array) -> golden.Weights:
    """The network whose outputs are the mixture: the last layer is linear, so its weights can be mixed."""
    *hidden, w, b = net
    return [*hidden, np.tensordot(alpha, w.reshape(NUM_HEADS, NUM_ACTIONS, -1), 1), alpha @ b.reshape(NUM_HEADS, -1)]


@pytest.mark.parametrize("num_steps", [1, 3], ids="{}_step".format)
@pytest.mark.parametrize("kind", ["huber", "square"])
def test_golden_update(kind: str, num_steps: int) -> None:
    """Section 4.2 of arXiv:1907.04543 over windows of rewards, for all rows at once."""
    policy = tiny.make_policy(
        "rem", is_double=False, clip_loss_grad=kind == "huber", estimation_step=num_steps, target_update_freq=1
    )
    drawn = torch.rand((len(ROWS), NUM_HEADS), generator=tiny.replay(policy)).numpy()[0]
    alpha = drawn / drawn.sum()
    model, target = tiny.arrays(policy.nets["model"]), tiny.arrays(policy.targets["model"])
    y = golden.q_learning_targets(
        DATA,
        mixed(model, alpha),
        mixed(target, alpha),
        CHOICES,
        is_double=False,
        gamma=GAMMA,
        num_steps=num_steps,
    )

    stats = policy.learn(ReplayBuffer(**DATA).window(torch.as_tensor(ROWS), num_steps))

    q, _ = forward(mixed(model, alpha), DATA["obs"])
    loss, d_q = golden.td_loss(q, DATA["act"], y, is_huber=kind == "huber")
    d_heads = alpha[:, None] * d_q[:, None, :]
    grads, _ = backward(model, forward(model, DATA["obs"])[1], d_heads.reshape(len(ROWS), -1))
    assert stats.smoothed_loss == pytest.approx({"loss": loss}, abs=1e-10)
    stepped = check_steps(policy, {"model": model}, {"model": grads})
    assert_same(tiny.arrays(policy.targets["model"]), stepped["model"])


@pytest.mark.parametrize("is_double", [True, False])
def test_one_head_is_dqn(is_double: bool) -> None:
    policy, other = (
        tiny.make_policy("rem", is_double=is_double, num_heads=1),
        tiny.make_policy("dqn", is_double=is_double),
    )
    other.nets["model"].load_state_dict(policy.nets["model"].state_dict())
    other.targets["model"].load_state_dict(policy.targets["model"].state_dict())
    for _ in range(5):
        policy.learn(DATA)
        other.learn(DATA)
    for net in ("nets", "targets"):
        assert_same(tiny.arrays(getattr(policy, net)["model"]), tiny.arrays(getattr(other, net)["model"]))
    obs = torch.randn(50, tiny.OBS_DIM)
    assert torch.equal(policy({"obs": obs}).act, other({"obs": obs}).act)


def test_equal_heads_learn_as_dqn_whatever_is_drawn() -> None:
    """A convex combination of one function is that function; a gradient is shared out among the heads."""
    policy, other = tiny.make_policy("rem"), tiny.make_policy("dqn")
    for group in ("nets", "targets"):
        own = getattr(other, group)["model"].state_dict()
        last = [name for name in own if own[name].shape[0] == NUM_ACTIONS][-2:]
        repeated = {name: torch.cat([own[name]] * NUM_HEADS) if name in last else own[name] for name in own}
        getattr(policy, group)["model"].load_state_dict(repeated)
    losses = [each.learn(DATA).smoothed_loss["loss"] for each in (policy, other)]
    assert losses[0] == pytest.approx(losses[1], abs=1e-12)


def test_the_mean_of_the_heads_acts_among_the_available_actions() -> None:
    policy = tiny.make_policy("rem")
    batch = masked_observations()
    out = policy(batch)
    q = forward(mixed(tiny.arrays(policy.nets["model"]), np.full(NUM_HEADS, 1 / NUM_HEADS)), batch["obs"].numpy())[0]
    assert out.act.tolist() == best_available(q, batch["mask"])
    assert_same([out.q_value.numpy()], [q])


def test_one_head_whose_weight_may_be_zero_by_zero_is_refused() -> None:
    assert violations(REMConfig, {"num_heads": 1}) == ["num_heads=1 is outside [2, inf)"]
    assert violations(REMConfig, {"num_heads": 2}) == []
