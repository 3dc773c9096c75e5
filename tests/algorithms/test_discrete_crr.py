import numpy as np
import pytest
import torch

from algorithms import golden, tiny
from algorithms.discrete_working import (
    CHOICES,
    DATA,
    GAMMA,
    ROWS,
    available,
    best_available,
    check_cloning,
    check_steps,
    masked_observations,
)
from algorithms.golden import Array, assert_same, backward, cross_entropy, forward, softmax

BETA, MAX_WEIGHT = 2.0, 1.5  # as in `tiny.CONFIGS`


def expected_value(policy: golden.Weights, critic: golden.Weights, obs: Array, choices: list[int]) -> float:
    probs = softmax(forward(policy, obs)[0][choices])
    return float(probs @ forward(critic, obs)[0][choices])


def weights_by_hand(advantage: Array, kind: str) -> Array:
    """Equations 3 and 4 of arXiv:2006.15134, row by row."""
    if kind == "binary":
        return np.array([1.0 if value > 0 else 0.0 for value in advantage])
    return np.array([min(np.exp(value / BETA), MAX_WEIGHT) for value in advantage])


@pytest.mark.parametrize("kind", ["exp", "binary"])
def test_golden_update(kind: str) -> None:
    """Algorithm 1 with sums over actions in place of samples, for all rows at once."""
    policy = tiny.make_policy("discrete_crr", weight=kind, target_update_freq=1)
    nets = {name: tiny.arrays(net) for name, net in policy.nets.items()}
    slow = {name: tiny.arrays(net) for name, net in policy.targets.items()}
    y = golden.n_step_targets(
        DATA,
        lambda row: expected_value(slow["policy"], slow["model"], DATA["obs_next"][row], list(CHOICES[row])),
        gamma=GAMMA,
    )
    q, model_inputs = forward(nets["model"], DATA["obs"])
    logits, policy_inputs = forward(nets["policy"], DATA["obs"])
    logits = available(logits)
    advantage = q[ROWS, DATA["act"]] - (softmax(logits) * q).sum(-1)
    weight = weights_by_hand(advantage, kind)
    assert 0 < (weight == weight.max()).mean() < 1, "some weights shall be at their bound, and not all"

    stats = policy.learn(DATA)

    q_loss, d_q = golden.td_loss(q, DATA["act"], y, is_huber=False)
    _, d_logits = cross_entropy(logits, DATA["act"])
    actor_loss = np.mean(-weight * np.log(softmax(logits)[ROWS, DATA["act"]]))
    grads = {
        "model": backward(nets["model"], model_inputs, d_q)[0],
        "policy": backward(nets["policy"], policy_inputs, weight[:, None] * d_logits)[0],
    }
    losses = {"loss": q_loss + actor_loss, "q_loss": q_loss, "actor_loss": actor_loss}
    assert stats.smoothed_loss == pytest.approx(losses, abs=1e-10)
    for name, stepped in check_steps(policy, nets, grads).items():
        assert_same(tiny.arrays(policy.targets[name]), stepped)


def test_at_a_high_temperature_the_policy_clones() -> None:
    """exp(advantage / beta) goes to one: the same steps as `bc_discrete` from the same weights."""
    policy = tiny.make_policy("discrete_crr", beta=1e14)
    clone = check_cloning(policy, "policy")
    obs = torch.randn(50, tiny.OBS_DIM)
    assert torch.equal(policy({"obs": obs}).act, clone({"obs": obs}).act)


def test_binary_weights_learn_from_no_action_that_is_worse_than_the_policy() -> None:
    """Values that are equal for all actions have no advantage: the policy does not move."""
    policy = tiny.make_policy("discrete_crr", weight="binary")
    with torch.no_grad():
        *_, weight, bias = policy.nets["model"].parameters()
        weight.zero_()
        bias.zero_()
    before = tiny.arrays(policy.nets["policy"])
    stats = policy.learn(DATA)
    assert stats.smoothed_loss["actor_loss"] == 0
    assert_same(tiny.arrays(policy.nets["policy"]), before)


def test_the_most_probable_available_action_is_taken() -> None:
    policy = tiny.make_policy("discrete_crr")
    batch = masked_observations()
    logits = forward(tiny.arrays(policy.nets["policy"]), batch["obs"].numpy())[0]
    assert policy(batch).act.tolist() == best_available(logits, batch["mask"])
