import numpy as np
import pytest
import torch

from algorithms import tiny
from algorithms.gaussian_working import DATA, GAMMA, MAX_ACTION, NUM_ROWS, TAU, Working, clone, head, smallest
from algorithms.golden import assert_same, n_step_targets, soft_update
from bcq_exp.algorithms.awac import advantage_weights

LMBDA = 7.5  # so large that no row's weight is all
BOUND = {"low": -6, "high": 0, "is_sigmoid": True}


@pytest.mark.parametrize("normalization", ["batch", "none"])
def test_golden_update(normalization: str) -> None:
    """Equations 9 and 13 of arXiv:2006.09359: critics, then policy, on the weights that the critics' step left.

    As in the published code, the smaller of the twins judges, the value of a state is that of one action of the
    policy, and with `batch` the weights are a softmax over the batch, times its size.
    """
    policy = tiny.make_policy("awac", max_action=MAX_ACTION, normalization=normalization, lmbda=LMBDA)
    with torch.no_grad():
        policy.nets["policy"].log_std.copy_(torch.tensor([-0.4, 2.5]))
    s, a, by_hand = DATA["obs"], DATA["act"], Working(policy)
    eps_next, eps = (torch.randn(NUM_ROWS, tiny.ACT_DIM, generator=by_hand.stream).numpy() for _ in range(2))

    def value(row: int) -> float:
        at = head(by_hand.nets["policy"], DATA["obs_next"][row], **BOUND)
        return smallest(by_hand.slow, DATA["obs_next"][row], at.mean + np.exp(at.log_std) * eps_next[row])

    losses = by_hand.step_critics(n_step_targets(DATA, value, gamma=GAMMA))

    at = head(by_hand.nets["policy"], s, **BOUND)
    advantage = smallest(by_hand.nets, s, a) - smallest(by_hand.nets, s, at.mean + np.exp(at.log_std) * eps)
    weight = np.exp(advantage / (LMBDA))
    if normalization == "batch":
        weight *= NUM_ROWS / weight.sum()
    losses["actor_loss"], grads = clone(by_hand.nets["policy"], at, a, weight)
    by_hand.step("policy", grads)

    assert policy.learn(DATA).smoothed_loss == pytest.approx(losses, abs=1e-10)
    by_hand.check({name: soft_update(by_hand.slow[name], by_hand.nets[name], TAU) for name in by_hand.slow})


def test_weights_sum_to_the_batch_and_keep_the_ratios_of_the_exponentials() -> None:
    advantage, lmbda = torch.tensor([0.3, -2.0, 500.0, 499.0]), torch.tensor(0.5)
    weight = advantage_weights(advantage, lmbda, "batch")
    assert weight.sum().item() == pytest.approx(4)
    assert (weight[2] / weight[3]).item() == pytest.approx(np.exp(2))
    bare = advantage_weights(advantage[:2], lmbda, "none")
    assert bare.tolist() == pytest.approx([np.exp(0.6), np.exp(-4)])


def test_bare_weights_are_bounded_and_so_are_the_squares_of_their_gradients() -> None:
    """In float32 e^20 is 485,165,195; without a bound the exponential of 89 is infinite."""
    advantage = torch.tensor([39.0, 40.0, 178.0, 1e6], dtype=torch.float32)
    weight = advantage_weights(advantage, torch.tensor(2.0, dtype=torch.float32), "none")
    assert weight.tolist() == pytest.approx([294_267_566, *[485_165_195] * 3])
    assert weight.square().isfinite().all()


def test_where_all_actions_are_equal_the_policy_clones() -> None:
    """Critics that know no action give each row the weight 1, whatever lambda."""
    policy = tiny.make_policy("awac")
    for name in ("critic1", "critic2"):
        next(policy.nets[name].parameters()).data[:, tiny.OBS_DIM :] = 0
    batch = {"obs": torch.as_tensor(DATA["obs"]), "act": torch.as_tensor(DATA["act"])}
    stage, noise = policy.algorithm.stages[1], {"eps": torch.randn(NUM_ROWS, tiny.ACT_DIM)}
    loss, _ = stage.loss(policy.losses_view(), policy.targets_view(), batch, noise, policy.hp)
    mean, log_std = policy.nets["policy"](batch["obs"])
    likelihood = torch.distributions.Normal(mean, log_std.exp()).log_prob(batch["act"]).sum(-1).mean()
    params = list(policy.nets["policy"].parameters())
    found, expected = (torch.autograd.grad(each, params) for each in (loss, -likelihood))
    assert_same([grad.numpy() for grad in found], [grad.numpy() for grad in expected])
