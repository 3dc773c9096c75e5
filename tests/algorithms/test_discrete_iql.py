import numpy as np
import pytest
import torch

from algorithms import tiny
from algorithms.discrete_working import DATA, GAMMA, NUM_ACTIONS, ROWS, available, check_cloning, check_steps
from algorithms.golden import (
    Adam,
    Array,
    assert_same,
    backward,
    cross_entropy,
    forward,
    n_step_targets,
    soft_update,
    softmax,
)

TAU, EXPECTILE, BETA, MAX_WEIGHT = 0.3, 0.8, 0.5, 2.0  # as in `tiny.CONFIGS`
CRITICS = ("model1", "model2")


def test_golden_update() -> None:
    """Equations 5 to 7 of arXiv:2110.06169, in the published code's order: value, policy, critics."""
    policy = tiny.make_policy("discrete_iql")
    nets = {name: tiny.arrays(net) for name, net in policy.nets.items()}
    slow = {name: tiny.arrays(net) for name, net in policy.targets.items()}
    stepped, grads, losses = dict(nets), {}, {}

    def step(name: str, d_out: Array) -> None:
        grads[name], _ = backward(nets[name], forward(nets[name], DATA["obs"])[1], d_out)
        stepped[name] = Adam(tiny.LR).step(nets[name], grads[name])

    q = np.minimum(*(forward(slow[name], DATA["obs"])[0][ROWS, DATA["act"]] for name in CRITICS))
    error = q - forward(nets["value"], DATA["obs"])[0][:, 0]
    weight = np.where(error < 0, 1 - EXPECTILE, EXPECTILE)
    assert 0 < (error < 0).mean() < 1
    losses["value_loss"] = np.mean(weight * error**2)
    step("value", (-2 * weight * error / len(ROWS))[:, None])

    advantage = q - forward(stepped["value"], DATA["obs"])[0][:, 0]
    weight = np.exp(BETA * advantage)
    assert 0 < (weight > MAX_WEIGHT).mean() < 1, "the bound shall act on some of the weights, and not on all"
    weight = np.minimum(weight, MAX_WEIGHT)
    logits = available(forward(nets["policy"], DATA["obs"])[0])
    losses["actor_loss"] = np.mean(-weight * np.log(softmax(logits)[ROWS, DATA["act"]]))
    step("policy", weight[:, None] * cross_entropy(logits, DATA["act"])[1])

    y = n_step_targets(DATA, lambda row: forward(stepped["value"], DATA["obs_next"][row])[0][0], gamma=GAMMA)
    for number, name in enumerate(CRITICS, 1):
        error = forward(nets[name], DATA["obs"])[0][ROWS, DATA["act"]] - y
        losses[f"critic{number}_loss"] = np.mean(error**2)
        step(name, np.eye(NUM_ACTIONS)[DATA["act"]] * (2 * error / len(ROWS))[:, None])

    assert policy.learn(DATA).smoothed_loss == pytest.approx(losses, abs=1e-10)
    check_steps(policy, nets, grads)
    for name in CRITICS:
        assert_same(tiny.arrays(policy.targets[name]), soft_update(slow[name], stepped[name], TAU))


def test_at_expectile_one_half_the_value_of_a_state_is_the_mean_over_its_rows() -> None:
    """One state with every action once: V goes to the mean of min_j Q_j', at 0.9 above it."""
    data = {key: np.repeat(column[:1], NUM_ACTIONS, 0) for key, column in DATA.items()}
    data |= {"act": np.arange(NUM_ACTIONS), "mask": np.ones((NUM_ACTIONS, NUM_ACTIONS), np.bool_)}
    values = {}
    for expectile in (0.5, 0.9):
        policy = tiny.make_policy("discrete_iql", expectile=expectile, tau=1e-12)
        obs = torch.as_tensor(data["obs"])
        q = torch.minimum(*(policy.targets[name](obs[:1]) for name in CRITICS))
        for group in policy.optimizers["value"].param_groups:
            group["lr"] = 0.05
        for _ in range(600):
            policy.learn(data)
        values[expectile] = policy.nets["value"](obs[:1]).item()
    assert values[0.5] == pytest.approx(q.mean().item(), abs=1e-2)
    assert q.mean() + 0.1 < values[0.9] < q.max()


def test_without_beta_the_policy_clones() -> None:
    policy = tiny.make_policy("discrete_iql", beta=0.0)
    clone = check_cloning(policy, "policy")
    obs = torch.randn(50, tiny.OBS_DIM)
    assert torch.equal(policy({"obs": obs}).act, clone({"obs": obs}).act)


def test_no_other_action_than_the_datasets_is_judged() -> None:
    """What a critic says of an action that no row has reaches no loss: its weights may be anything."""
    unseen = NUM_ACTIONS - 1
    data = DATA | {"act": DATA["act"] % unseen, "mask": np.ones_like(DATA["mask"])}
    traces = []
    for offset in (0.0, 1e6):
        policy = tiny.make_policy("discrete_iql")
        with torch.no_grad():
            for net in (*(policy.nets[name] for name in CRITICS), *policy.targets.values()):
                *_, bias = net.parameters()
                bias[unseen] += offset
        traces.append([policy.learn(data).smoothed_loss for _ in range(3)])
    assert traces[0] == traces[1]
