import math

import numpy as np
import pytest
import torch
from torch import tensor

from algorithms import golden, tiny
from algorithms.discrete_working import CHOICES, DATA, NUM_ACTIONS, ROWS, available, check_steps
from algorithms.golden import assert_same, backward, cross_entropy, forward
from algorithms.quantile_working import quantile_loss, quantile_targets, quantiles
from bcq_exp.algorithms.discrete_cql import conservative_penalty
from bcq_exp.data import ReplayBuffer

ALPHA = 0.4  # as in `tiny.CONFIGS`


@pytest.mark.parametrize("num_steps", [1, 3], ids="{}_step".format)
@pytest.mark.parametrize("head", ["square", "huber", "quantile"])
def test_golden_update(head: str, num_steps: int) -> None:
    """Equation 4 of arXiv:2006.04779 with R = H, over windows of rewards, for all rows at once.

    log sum exp Q - Q(s, a) over the available actions is the cross entropy of the softmax of their Q, and on quantiles
    that of their mean.
    """
    num_quantiles = 3 if head == "quantile" else 1
    policy = tiny.make_policy(
        "discrete_cql",
        num_quantiles=num_quantiles if head == "quantile" else None,
        clip_loss_grad=head != "square",
        is_double=False,
        estimation_step=num_steps,
        target_update_freq=1,
    )
    model, target = tiny.arrays(policy.nets["model"]), tiny.arrays(policy.targets["model"])
    y = quantile_targets(model, target, CHOICES, is_double=False, num_steps=num_steps, num_quantiles=num_quantiles)

    stats = policy.learn(ReplayBuffer(**DATA).window(torch.as_tensor(ROWS), num_steps))

    theta = quantiles(model, DATA["obs"], num_quantiles)
    if head == "quantile":
        q_loss, d_theta = quantile_loss(theta, DATA["act"], y, kappa=1.0)
    else:
        q_loss, d_q = golden.td_loss(theta[:, 0], DATA["act"], y[:, 0], is_huber=head == "huber")
        d_theta = d_q[:, None]
    penalty, d_penalty = cross_entropy(available(theta.mean(1)), DATA["act"])
    d_theta = d_theta + ALPHA * d_penalty[:, None] / num_quantiles
    grads, _ = backward(model, forward(model, DATA["obs"])[1], d_theta.reshape(len(ROWS), -1))
    losses = {"loss": q_loss + ALPHA * penalty, "q_loss": q_loss, "cql_penalty": penalty}
    assert stats.smoothed_loss == pytest.approx(losses, abs=1e-10)
    stepped = check_steps(policy, {"model": model}, {"model": grads})
    assert_same(tiny.arrays(policy.targets["model"]), stepped["model"])


@pytest.mark.parametrize("value", [-300.0, 0.0, 1e3])
def test_penalty_of_equal_values_is_the_logarithm_of_their_number(value: float) -> None:
    q_BA, act_B = torch.full((7, NUM_ACTIONS), value), torch.arange(7) % NUM_ACTIONS
    assert conservative_penalty(q_BA, act_B, None).item() == pytest.approx(math.log(NUM_ACTIONS))


def test_penalty_by_hand_over_the_available_actions() -> None:
    """Values log 1, log 3 and log 96: over all actions log 100 less the dataset's log 1, over the first two log 4."""
    q_BA, act_B = torch.tensor([[1.0, 3.0, 96.0]]).log(), torch.tensor([0])
    assert conservative_penalty(q_BA, act_B, None).item() == pytest.approx(math.log(100))
    mask = torch.tensor([[True, True, False]])
    assert conservative_penalty(q_BA, act_B, mask).item() == pytest.approx(math.log(4))


def test_gradient_of_the_penalty_sums_to_zero_in_each_state_and_raises_the_datasets_action_alone() -> None:
    q_BA, act_B = (5 * torch.randn(30, NUM_ACTIONS)).requires_grad_(), torch.randint(NUM_ACTIONS, (30,))
    (d_q_BA,) = torch.autograd.grad(conservative_penalty(q_BA, act_B, None), q_BA)
    torch.testing.assert_close(d_q_BA.sum(-1), torch.zeros(30))
    is_data_BA = torch.arange(NUM_ACTIONS) == act_B[:, None]
    assert (d_q_BA[is_data_BA] < 0).all()
    assert (d_q_BA[~is_data_BA] > 0).all()


def test_without_a_penalty_it_learns_as_dqn() -> None:
    policy = tiny.make_policy("discrete_cql", alpha=0.0)
    other = tiny.make_policy("dqn")
    other.nets["model"].load_state_dict(policy.nets["model"].state_dict())
    other.targets["model"].load_state_dict(policy.targets["model"].state_dict())
    for _ in range(3):
        policy.learn(DATA)
        other.learn(DATA)
    assert_same(tiny.arrays(policy.nets["model"]), tiny.arrays(other.nets["model"]))


def test_a_large_penalty_clones() -> None:
    """On one state with 3 of 4 rows for action 2, the penalty alone prefers it whatever is paid."""
    data = {key: column[[0, 0, 0, 0]] for key, column in DATA.items()} | {"act": np.array([2, 2, 4, 2])}
    data |= {"mask": np.ones((4, NUM_ACTIONS), np.bool_)}
    data |= {"rew": np.array([-1.0, -1.0, 5.0, -1.0]), "terminated": np.ones(4, np.bool_)}
    acts = {}
    for alpha in (0.0, 100.0):
        policy = tiny.make_policy("discrete_cql", alpha=alpha)
        for _ in range(400):
            policy.learn(data)
        acts[alpha] = policy({"obs": tensor(data["obs"][:1])}).act.item()
    assert acts[100.0] == 2
    assert acts[0.0] != 2
