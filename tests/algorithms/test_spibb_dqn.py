import itertools

import numpy as np
import pytest
import torch

from algorithms import golden, tiny
from algorithms.discrete_working import (
    DATA,
    GAMMA,
    NUM_ACTIONS,
    ROWS,
    check_cloning,
    check_steps,
    masked_observations,
    q_learning_and_imitation,
)
from algorithms.golden import Array, assert_same, forward, softmax
from bcq_exp.algorithms.spibb_dqn import constrained_policy
from bcq_exp.data import ReplayBuffer

MIN_PROBABILITY = 0.15  # as in `tiny.CONFIGS`


def value_by_hand(judged: Array, ranked: Array, logits: Array, mask: Array) -> float:
    """Equation 9 of arXiv:1712.06924: uncounted pairs as the behaviour has them, the rest on the best counted one."""
    available = np.flatnonzero(mask)
    behaviour = dict(zip(available, softmax(logits[available]), strict=True))
    counted = [act for act in available if behaviour[act] >= MIN_PROBABILITY]
    value = sum(behaviour[act] * judged[act] for act in available if act not in counted)
    if counted:
        value += sum(behaviour[act] for act in counted) * judged[max(counted, key=lambda act: ranked[act])]
    return float(value)


@pytest.mark.parametrize("num_steps", [1, 3], ids="{}_step".format)
@pytest.mark.parametrize("kind", ["huber", "square"])
@pytest.mark.parametrize("chooser", ["double", "single"])
def test_golden_update(chooser: str, kind: str, num_steps: int) -> None:
    """Q-learning on equation 9 and imitation, over windows of rewards, for all rows at once."""
    policy = tiny.make_policy(
        "spibb_dqn",
        is_double=chooser == "double",
        clip_loss_grad=kind == "huber",
        estimation_step=num_steps,
        target_update_freq=1,
    )
    nets = {name: tiny.arrays(net) for name, net in policy.nets.items()}
    judged, ranked, logits_next = (
        forward(net, DATA["obs_next"])[0]
        for net in (tiny.arrays(policy.targets["model"]), nets["model"], nets["imitator"])
    )
    is_counted = softmax(logits_next[~DATA["terminated"]]) >= MIN_PROBABILITY
    assert 0.1 < is_counted.mean() < 0.9
    y = golden.n_step_targets(
        DATA,
        lambda row: value_by_hand(
            judged[row],
            ranked[row] if chooser == "double" else judged[row],
            logits_next[row],
            DATA["mask_next"][row],
        ),
        gamma=GAMMA,
        num_steps=num_steps,
    )

    stats = policy.learn(ReplayBuffer(**DATA).window(torch.as_tensor(ROWS), num_steps))

    losses, grads = q_learning_and_imitation(nets, y, is_huber=kind == "huber")
    assert stats.smoothed_loss == pytest.approx(losses, abs=1e-10)
    stepped = check_steps(policy, nets, grads)
    assert_same(tiny.arrays(policy.targets["model"]), stepped["model"])


def test_constrained_policy_by_hand() -> None:
    """Probabilities 0.5, 0.3, 0.15, 0.05 with 0.15 as the least that counts; the third action has the largest value."""
    logits, q = torch.tensor([[0.5, 0.3, 0.15, 0.05]]).log(), torch.tensor([[1.0, 2.0, 3.0, 9.0]])
    least, mask = torch.tensor(0.15 - 1e-9), torch.tensor([[True, True, False, True]])
    assert constrained_policy(q, logits, least, None)[0].tolist() == pytest.approx([0, 0, 0.95, 0.05])
    masked = constrained_policy(q, logits, least, mask)[0].tolist()
    assert masked == pytest.approx([0, 0.8 / 0.85, 0, 0.05 / 0.85])
    none = constrained_policy(q, logits, torch.tensor(0.6), None)[0].tolist()
    assert none == pytest.approx([0.5, 0.3, 0.15, 0.05])


def test_no_policy_that_keeps_the_uncounted_pairs_is_worth_more() -> None:
    """Against every way of giving what the counted pairs have to one of them."""
    q_BA, logits_BA, least = torch.randn(50, NUM_ACTIONS), torch.randn(50, NUM_ACTIONS), torch.tensor(0.12)
    best_B = (constrained_policy(q_BA, logits_BA, least, None) * q_BA).sum(-1)
    behaviour_BA = logits_BA.softmax(-1)
    for row, action in itertools.product(range(50), range(NUM_ACTIONS)):
        is_counted = behaviour_BA[row] >= least
        if is_counted[action]:
            other = torch.where(is_counted, 0, behaviour_BA[row])
            other[action] += behaviour_BA[row][is_counted].sum()
            assert (other * q_BA[row]).sum() <= best_B[row] + 1e-12


def test_with_no_counted_pair_it_is_behavioural_cloning() -> None:
    """The policy is the imitator's distribution, and the imitator learns as `bc_discrete` does."""
    policy = tiny.make_policy("spibb_dqn", min_probability=1.0)
    clone = check_cloning(policy, "imitator")
    obs = torch.randn(1, tiny.OBS_DIM)
    probs = clone({"obs": obs}).logits.softmax(-1)[0]
    drawn = policy({"obs": obs.expand(20000, -1)})
    torch.testing.assert_close(drawn.probs[0], probs)
    frequencies = drawn.act.bincount(minlength=NUM_ACTIONS) / 20000
    torch.testing.assert_close(frequencies, probs, atol=0.015, rtol=0)  # four deviations


@pytest.mark.parametrize("is_double", [True, False])
def test_with_all_pairs_counted_it_is_q_learning(is_double: bool) -> None:
    policy = tiny.make_policy("spibb_dqn", min_probability=0.0, is_double=is_double)
    other = tiny.make_policy("dqn", is_double=is_double)
    other.nets["model"].load_state_dict(policy.nets["model"].state_dict())
    other.targets["model"].load_state_dict(policy.targets["model"].state_dict())
    for _ in range(5):
        policy.learn(DATA)
        other.learn(DATA)
    for net in ("nets", "targets"):
        assert_same(tiny.arrays(getattr(policy, net)["model"]), tiny.arrays(getattr(other, net)["model"]))
    batch = masked_observations()
    assert torch.equal(policy(batch).act, other(batch).act)
