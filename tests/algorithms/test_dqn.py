import numpy as np
import pytest
import torch

from algorithms import golden, tiny
from algorithms.golden import Adam, assert_same, backward, forward
from bcq_exp.algorithms import dqn
from bcq_exp.data import ReplayBuffer

GAMMA = 0.9
DATA = tiny.data(is_discrete=True)
ROWS = torch.arange(len(DATA["rew"]))


@pytest.mark.parametrize("method", ["learn", "update"])
@pytest.mark.parametrize("masking", ["masked", "all_actions"])
@pytest.mark.parametrize("num_steps", [1, 3], ids="{}_step".format)
@pytest.mark.parametrize("kind", ["huber", "square"])
@pytest.mark.parametrize("chooser", ["double", "single"])
def test_golden_update(chooser: str, kind: str, num_steps: int, masking: str, method: str) -> None:
    """arXiv:1509.06461, equations 1 and 4, over windows of rewards, worked out for all rows at once."""
    policy = tiny.make_policy(
        "dqn",
        is_double=chooser == "double",
        clip_loss_grad=kind == "huber",
        estimation_step=num_steps,
        target_update_freq=1,
    )
    data = DATA if masking == "masked" else {key: DATA[key] for key in DATA if key != "mask_next"}
    mask_next = data.get("mask_next", np.ones((len(ROWS), tiny.DISCRETE.n)))
    model = tiny.arrays(policy.nets["model"])
    y = golden.q_learning_targets(
        data,
        model,
        tiny.arrays(policy.targets["model"]),
        [np.flatnonzero(mask) for mask in mask_next],
        is_double=chooser == "double",
        gamma=GAMMA,
        num_steps=num_steps,
    )

    buffer = ReplayBuffer(**data)
    stats = policy.update(0, buffer) if method == "update" else policy.learn(buffer.window(ROWS, num_steps))

    q, inputs = forward(model, data["obs"])
    loss, d_q = golden.td_loss(q, data["act"], y, is_huber=kind == "huber")
    grads, _ = backward(model, inputs, d_q)
    stepped = Adam(tiny.LR).step(model, grads)
    assert stats.smoothed_loss == pytest.approx({"loss": loss}, abs=1e-10)
    assert_same(tiny.gradients(policy.nets["model"]), grads)
    assert_same(tiny.arrays(policy.nets["model"]), stepped)
    assert_same(tiny.arrays(policy.targets["model"]), stepped)


def test_target_is_copied_whole_after_every_second_update_only() -> None:
    policy, batch = tiny.make_policy("dqn", target_update_freq=2), ReplayBuffer(**DATA).window(ROWS, 1)
    for update in range(4):
        before = tiny.arrays(policy.targets["model"])
        policy.learn(batch)
        assert_same(tiny.arrays(policy.targets["model"]), tiny.arrays(policy.nets["model"]) if update % 2 else before)


@pytest.mark.parametrize("name", ["dqn", "discrete_bcq", "qrdqn", "kl_control", "discrete_crr"])
def test_soft_targets_make_a_polyak_step_in_each_update(name: str) -> None:
    policy = tiny.make_policy(name, target_update_freq=None, tau=0.25)
    batch = ReplayBuffer(**DATA).window(ROWS, 1)
    for _ in range(2):
        before = {target: tiny.arrays(net) for target, net in policy.targets.items()}
        policy.learn(batch)
        for target, slow in before.items():
            fast = tiny.arrays(policy.nets[target])
            expected = [0.75 * old + 0.25 * new for old, new in zip(slow, fast, strict=True)]
            assert_same(tiny.arrays(policy.targets[target]), expected)


def test_one_polyak_step_by_hand() -> None:
    """Adam's first step is lr against the gradient's sign: from weights 2, targets 0 and rewards far below, to 1.99."""
    policy = tiny.make_policy("dqn", target_update_freq=None, tau=0.25, gamma=0.0)
    for net, value in ((policy.nets["model"], 2.0), (policy.targets["model"], 0.0)):
        for param in net.parameters():
            torch.nn.init.constant_(param, value)
    rows = len(DATA["obs"])
    columns = {
        **DATA,
        "obs": np.ones((rows, tiny.OBS_DIM)),
        "act": np.zeros(rows, np.int64),
        "rew": np.full(rows, -9e3),
    }
    batch = {name: column for name, column in columns.items() if name not in ("mask", "mask_next")}
    policy.learn(batch)
    bias, slow_bias = (tiny.arrays(net)[-1][0] for net in (policy.nets["model"], policy.targets["model"]))
    assert bias == pytest.approx(1.99, abs=1e-9)
    assert slow_bias == pytest.approx(0.25 * 1.99, abs=1e-9)  # 0.4975


@pytest.mark.parametrize("is_double", [True, False])
def test_without_a_target_network_the_online_one_judges(is_double: bool) -> None:
    policy = tiny.make_policy("dqn", target_update_freq=0, is_double=is_double)
    assert not policy.targets
    model = tiny.arrays(policy.nets["model"])
    choices = [np.flatnonzero(mask) for mask in DATA["mask_next"]]
    y = golden.q_learning_targets(DATA, model, model, choices, is_double=True, gamma=GAMMA, num_steps=1)
    loss, _ = golden.td_loss(forward(model, DATA["obs"])[0], DATA["act"], y, is_huber=False)
    assert policy.learn(DATA).smoothed_loss["loss"] == pytest.approx(loss, abs=1e-10)


def test_q_values_act_among_the_available_actions() -> None:
    policy = tiny.make_policy("dqn")
    obs, mask = torch.randn(100, tiny.OBS_DIM), torch.rand(100, int(tiny.DISCRETE.n)) < 0.5
    mask[:, 3] = True
    out = policy({"obs": obs, "mask": mask})
    q = forward(tiny.arrays(policy.nets["model"]), obs.numpy())[0]
    expected = [max(np.flatnonzero(row), key=values.__getitem__) for values, row in zip(q, mask, strict=True)]
    assert out.act.tolist() == expected
    assert_same([out.q_value.numpy()], [q])


def test_return_statistics_are_those_of_the_monte_carlo_returns() -> None:
    returns = golden.n_step_targets(DATA, lambda row: 0.0, gamma=GAMMA, num_steps=len(ROWS))
    found = dqn.return_statistics(ReplayBuffer(**DATA), {"gamma": torch.tensor(GAMMA)})
    assert float(found["return_mean"]) == pytest.approx(np.mean(returns), abs=1e-12)
    assert float(found["return_std"]) == pytest.approx(np.std(returns), abs=1e-12)


def test_equal_returns_cannot_be_normalised() -> None:
    buffer = ReplayBuffer(**DATA | {"rew": np.zeros(len(ROWS))})
    with pytest.raises(ValueError, match="reward_normalization: all discounted returns equal 0"):
        dqn.return_statistics(buffer, {"gamma": torch.tensor(GAMMA)})


def test_targets_are_in_units_of_the_returns() -> None:
    """Without a future, y = (r - mean) / std: rewards 5 + 2 r in units of (5, 2) teach what r teaches."""
    policy, plain = tiny.make_policy("dqn", reward_normalization=True, gamma=0.0), tiny.make_policy("dqn", gamma=0.0)
    policy.load_state_dict({**policy.state_dict(), "return_mean": torch.tensor(5.0), "return_std": torch.tensor(2.0)})
    policy.is_prepared = True
    losses = [each.learn(DATA | {"rew": rew}) for each, rew in ((policy, 5 + 2 * DATA["rew"]), (plain, DATA["rew"]))]
    assert losses[0].smoothed_loss == pytest.approx(losses[1].smoothed_loss)


@pytest.mark.parametrize("reward", [0.0, 0.1])
def test_equal_returns_are_refused_whatever_rounding_makes_of_their_deviation(reward: float):
    num_rows = 1000
    buffer = ReplayBuffer(
        obs=np.zeros((num_rows, 2)),
        act=np.zeros(num_rows, dtype=np.int64),
        rew=np.full(num_rows, reward),
        terminated=np.ones(num_rows, dtype=bool),
        truncated=np.zeros(num_rows, dtype=bool),
        obs_next=np.zeros((num_rows, 2)),
    )
    with pytest.raises(ValueError, match="reward_normalization"):
        dqn.return_statistics(buffer, {"gamma": torch.tensor(0.9)})
