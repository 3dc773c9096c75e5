from dataclasses import replace

import numpy as np
import pytest
import torch

from algorithms import tiny
from algorithms.gaussian_working import DATA, GAMMA, MAX_ACTION, NUM_ROWS, TAU, Working, clone, head, smallest
from algorithms.golden import assert_same, backward, forward, n_step_targets, soft_update

EXPECTILE, BETA, MAX_WEIGHT = 0.8, 0.5, 2.0  # as in `tiny.CONFIGS`
HIDDEN = tiny.NETWORK.hidden_sizes


@pytest.mark.parametrize("dropout", [0.0, 0.4])
def test_golden_update(dropout: float) -> None:
    """Equations 5 to 7 of arXiv:2110.06169, in the published code's order: value, policy, critics.

    The target critics judge for the value and for the weights, the weights end at their bound, and the deviation of
    the policy is one vector within its range. With dropout, hidden units whose uniform number is below the share are
    silenced in the policy's loss, and the others grow in return.
    """
    policy = tiny.make_policy("iql", network=replace(tiny.NETWORK, dropout=dropout), max_action=MAX_ACTION)
    with torch.no_grad():
        policy.nets["policy"].log_std.copy_(torch.tensor([-0.4, 2.5]))  # the second is cut at 2
    s, a, by_hand = DATA["obs"], DATA["act"], Working(policy)
    q = smallest(by_hand.slow, s, a)

    v, inputs = forward(by_hand.nets["value"], s)
    error = q - v[:, 0]
    weight = np.where(error < 0, 1 - EXPECTILE, EXPECTILE)
    assert 0 < (error < 0).mean() < 1
    losses = {"value_loss": np.mean(weight * error**2)}
    by_hand.step("value", backward(by_hand.nets["value"], inputs, (-2 * weight * error / NUM_ROWS)[:, None])[0])

    advantage = q - forward(by_hand.nets["value"], s)[0][:, 0]
    weight = np.exp(BETA * advantage)
    assert 0 < (weight > MAX_WEIGHT).mean() < 1, "the bound shall act on some of the weights, and not on all"
    uniform = torch.rand(NUM_ROWS, sum(HIDDEN), generator=by_hand.stream).numpy()
    factors = np.split((uniform >= dropout) / (1 - dropout), HIDDEN[:1], -1) if dropout else []
    at = head(by_hand.nets["policy"], s, low=-5, high=2, factors=factors)
    losses["actor_loss"], grads = clone(by_hand.nets["policy"], at, a, np.minimum(weight, MAX_WEIGHT), factors)
    by_hand.step("policy", grads)

    y = n_step_targets(DATA, lambda row: forward(by_hand.nets["value"], DATA["obs_next"][row])[0][0], gamma=GAMMA)
    losses |= by_hand.step_critics(y)

    assert policy.learn(DATA).smoothed_loss == pytest.approx(losses, abs=1e-10)
    by_hand.check({name: soft_update(by_hand.slow[name], by_hand.nets[name], TAU) for name in by_hand.slow})


def test_at_expectile_one_half_the_value_is_fitted_to_the_mean() -> None:
    """Half the squared error: half the gradient of a regression of V on min_j Q_j'(s, a)."""
    policy = tiny.make_policy("iql", expectile=0.5)
    columns = {"obs": torch.as_tensor(DATA["obs"]), "act": torch.as_tensor(DATA["act"])}
    nets, targets = policy.losses_view(), policy.targets_view()
    loss, _ = policy.algorithm.stages[0].loss(nets, targets, columns, {}, policy.hp)
    q = torch.minimum(*(targets[name](columns["obs"], columns["act"]) for name in ("critic1", "critic2")))
    regression = (q.detach() - nets["value"](columns["obs"])).square().mean()
    params = list(policy.nets["value"].parameters())
    found, expected = (torch.autograd.grad(each, params) for each in (loss, regression / 2))
    assert_same([grad.numpy() for grad in found], [grad.numpy() for grad in expected])


def test_without_beta_the_policy_clones() -> None:
    """Weights of one: the same steps as `bc` with a Gaussian policy, on the same weights."""
    policy, clone_ = tiny.make_policy("iql", beta=0.0), tiny.make_policy("bc", policy="gaussian")
    clone_.nets["policy"].load_state_dict(policy.nets["policy"].state_dict())
    for _ in range(3):
        policy.learn(DATA)
        clone_.learn(DATA)
    assert_same(tiny.arrays(policy.nets["policy"]), tiny.arrays(clone_.nets["policy"]))
    obs = torch.randn(5, tiny.OBS_DIM)
    torch.testing.assert_close(policy({"obs": obs}).act, policy.nets["policy"](obs)[0])


def test_no_other_action_than_the_datasets_is_judged() -> None:
    """The critics' values of all other actions may be anything."""
    policy, judged = tiny.make_policy("iql"), []
    for critic in (policy.nets["critic1"], policy.nets["critic2"], *policy.targets.values()):
        critic.register_forward_pre_hook(lambda _, inputs: judged.append(inputs[1]))
    policy.learn(DATA)
    assert len(judged) == 6
    assert all(torch.equal(act, torch.as_tensor(DATA["act"])) for act in judged)


def test_all_units_of_the_policy_count_where_it_acts() -> None:
    policy = tiny.make_policy("iql", network=replace(tiny.NETWORK, dropout=0.4))
    obs = torch.randn(5, tiny.OBS_DIM)
    first, again = (policy({"obs": obs}).act for _ in range(2))
    assert torch.equal(first, again)
    torch.testing.assert_close(first, tiny.make_policy("iql")({"obs": obs}).act)
