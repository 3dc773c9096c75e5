import numpy as np
import pytest
import torch

from algorithms import tiny
from algorithms.golden import Adam, assert_same, backward, forward, n_step_targets, soft_update
from bcq_exp.algorithms import discretized_dqn, dqn

GAMMA, TAU, NUM_BINS, MAX_ACTION = 0.9, 0.3, 4, 1.5
DATA = tiny.data(is_discrete=False)
NUM_ROWS = len(DATA["rew"])


def test_golden_update() -> None:
    """One update of doi:10.1038/nature14236 for each dimension: its logged bin towards its own greedy target."""
    policy = tiny.make_policy("discretized_dqn", max_action=MAX_ACTION)
    net, slow = tiny.arrays(policy.nets["model"]), tiny.arrays(policy.targets["model"])

    stats = policy.learn(DATA)

    q, inputs = forward(net, DATA["obs"])
    d_q, errors = np.zeros_like(q), []
    edges = np.linspace(-MAX_ACTION, MAX_ACTION, NUM_BINS + 1)
    used = set()
    for dim in range(tiny.ACT_DIM):

        def value(row: int, first: int = dim * NUM_BINS) -> float:
            return max(forward(slow, DATA["obs_next"][row])[0][first : first + NUM_BINS])

        y = n_step_targets(DATA, value, gamma=GAMMA)
        for row, act in enumerate(DATA["act"][:, dim]):
            chosen = dim * NUM_BINS + int(np.searchsorted(edges, act, side="right")) - 1
            error = q[row, chosen] - y[row]
            errors.append(error)
            d_q[row, chosen] = 2 * error / (NUM_ROWS * tiny.ACT_DIM)
            used.add(chosen)
    assert len(used) == tiny.ACT_DIM * NUM_BINS, "all bins shall be met"
    grads, _ = backward(net, inputs, d_q)
    net = Adam(tiny.LR).step(net, grads)

    assert stats.smoothed_loss == pytest.approx({"loss": np.mean(np.square(errors))}, abs=1e-10)
    assert_same(tiny.gradients(policy.nets["model"]), grads)
    assert_same(tiny.arrays(policy.nets["model"]), net)
    assert_same(tiny.arrays(policy.targets["model"]), soft_update(slow, net, TAU))


def test_each_dimension_is_dqn_on_its_bins() -> None:
    """The loss is the mean of DQN's, taken dimension by dimension on the outputs that belong to it."""
    policy = tiny.make_policy("discretized_dqn")
    rows = slice(0, 2)  # neither is terminal
    s, s_next, a, r = (torch.as_tensor(DATA[name][rows]) for name in ("obs", "obs_next", "act", "rew"))
    batch = {
        "obs": s,
        "obs_next": s_next,
        "act": a,
        "rew": r[:, None],
        "num_steps": torch.ones(2, dtype=torch.long),
        "terminated": torch.zeros(2, dtype=torch.bool),
    }
    loss, _ = policy.algorithm.stages[0].loss(policy.losses_view(), policy.targets_view(), batch, {}, policy.hp)
    losses = []
    for dim in range(tiny.ACT_DIM):
        outputs = slice(dim * NUM_BINS, (dim + 1) * NUM_BINS)
        y = r + GAMMA * policy.targets["model"](s_next)[:, outputs].amax(-1)
        bins = torch.tensor([int((act + 1) / 0.5) for act in a[:, dim]])
        losses.append(dqn.td_loss(policy.nets["model"](s)[:, outputs], bins, y, clip_loss_grad=False))
    torch.testing.assert_close(loss, torch.stack(losses).mean())


def test_bins_have_one_width_and_their_middles_come_back() -> None:
    act = torch.tensor([-1.5, -0.76, -0.74, -0.01, 0.01, 0.74, 0.76, 1.5, 1.6])
    bins = discretized_dqn.to_bins(act, 4, 1.5)
    assert bins.tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 3]
    every = torch.arange(10)
    middles = discretized_dqn.to_centres(every, 10, 1.0)
    assert middles.tolist() == pytest.approx([-0.9, -0.7, -0.5, -0.3, -0.1, 0.1, 0.3, 0.5, 0.7, 0.9])
    assert torch.equal(discretized_dqn.to_bins(middles, 10, 1.0), every)


def test_dimensions_choose_apart() -> None:
    """Each dimension takes the best of its own bins, whatever the others do."""
    policy = tiny.make_policy("discretized_dqn")
    s = torch.randn(20, tiny.OBS_DIM)
    q = policy.nets["model"](s).view(20, tiny.ACT_DIM, NUM_BINS)
    expected = discretized_dqn.to_centres(q.argmax(-1), NUM_BINS, 1.0)
    assert torch.equal(policy({"obs": s}).act, expected)
    assert (expected[:, 0] != expected[:, 1]).any()
