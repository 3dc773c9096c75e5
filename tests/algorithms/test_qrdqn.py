import numpy as np
import pytest
import torch

from algorithms import tiny
from algorithms.discrete_working import CHOICES, DATA, ROWS, best_available, check_steps, masked_observations
from algorithms.golden import assert_same, backward, forward
from algorithms.quantile_working import quantile_loss, quantile_targets, quantiles
from bcq_exp.data import ReplayBuffer

KAPPA, NUM_QUANTILES = 0.7, 3  # as in `tiny.CONFIGS`


@pytest.mark.parametrize("num_steps", [1, 3], ids="{}_step".format)
@pytest.mark.parametrize("chooser", ["double", "single"])
def test_golden_update(chooser: str, num_steps: int) -> None:
    """Algorithm 1 of arXiv:1710.10044 over windows of rewards, for all rows at once."""
    is_double = chooser == "double"
    policy = tiny.make_policy("qrdqn", is_double=is_double, estimation_step=num_steps, target_update_freq=1)
    model, target = tiny.arrays(policy.nets["model"]), tiny.arrays(policy.targets["model"])
    y = quantile_targets(model, target, CHOICES, is_double=is_double, num_steps=num_steps, num_quantiles=NUM_QUANTILES)
    theta = quantiles(model, DATA["obs"], NUM_QUANTILES)
    errors = y[:, :, None] - np.take_along_axis(theta, DATA["act"][:, None, None], -1)[:, None, :, 0]
    assert 0.2 < (abs(errors) > KAPPA).mean() < 1, "both branches of the Huber loss shall count"

    stats = policy.learn(ReplayBuffer(**DATA).window(torch.as_tensor(ROWS), num_steps))

    loss, d_theta = quantile_loss(theta, DATA["act"], y, KAPPA)
    grads, _ = backward(model, forward(model, DATA["obs"])[1], d_theta.reshape(len(ROWS), -1))
    assert stats.smoothed_loss == pytest.approx({"loss": loss}, abs=1e-10)
    stepped = check_steps(policy, {"model": model}, {"model": grads})
    assert_same(tiny.arrays(policy.targets["model"]), stepped["model"])


@pytest.mark.parametrize("is_double", [True, False])
def test_one_quantile_is_half_of_dqn_with_huber(is_double: bool) -> None:
    """Half the loss, half the gradient, from the same weights."""
    policy = tiny.make_policy("qrdqn", num_quantiles=1, kappa=1.0, is_double=is_double)
    other = tiny.make_policy("dqn", clip_loss_grad=True, is_double=is_double)
    other.nets["model"].load_state_dict(policy.nets["model"].state_dict())
    other.targets["model"].load_state_dict(policy.targets["model"].state_dict())
    losses = [each.learn(DATA).smoothed_loss["loss"] for each in (policy, other)]
    assert losses[0] == pytest.approx(losses[1] / 2, abs=1e-12)
    halves = [grad / 2 for grad in tiny.gradients(other.nets["model"])]
    assert_same(tiny.gradients(policy.nets["model"]), halves)
    obs = torch.randn(50, tiny.OBS_DIM)
    policy.nets["model"].load_state_dict(other.nets["model"].state_dict())
    assert torch.equal(policy({"obs": obs}).act, other({"obs": obs}).act)


def test_the_mean_of_the_quantiles_acts_among_the_available_actions() -> None:
    policy = tiny.make_policy("qrdqn")
    batch = masked_observations()
    out = policy(batch)
    q = quantiles(tiny.arrays(policy.nets["model"]), batch["obs"].numpy(), NUM_QUANTILES).mean(1)
    assert out.act.tolist() == best_available(q, batch["mask"])
    assert_same([out.q_value.numpy()], [q])
