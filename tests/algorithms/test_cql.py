import math
from functools import partial

import numpy as np
import pytest
import torch

from algorithms import soft_working, tiny
from algorithms.gaussian_working import CRITICS, DATA, GAMMA, MAX_ACTION, NUM_ROWS, TAU, Working, regress, smallest
from algorithms.golden import Array, backward, cat, forward, n_step_targets, soft_update, softmax
from algorithms.soft_working import spread
from bcq_exp.algorithms.cql import conservative_gap

ALPHA, NUM_SAMPLES = 2.0, 4  # as in `tiny.CONFIGS`
BOUNDS = {"low": -5.0, "slope_eps": 1e-6}  # of the published code
sample, step_policy = (partial(each, **BOUNDS) for each in (soft_working.sample, soft_working.step_policy))


@pytest.mark.parametrize("threshold", [None, 0.5])
def test_golden_update(threshold: float | None) -> None:
    """Equation 4 of arXiv:2006.04779 by the samples of appendix F, with a fixed weight and with a multiplier.

    SAC's policy first, then the critics on the policy that this step left. As in the published code, uniform actions
    and those of the policy at s and at s' stand behind log sum exp(Q - log p), which is not divided by their number;
    the target has no entropy; the multiplier's loss is a mean over the critics. A terminal s' is never looked at.
    """
    policy = tiny.make_policy("cql", max_action=MAX_ACTION, lagrange_threshold=threshold)
    spread(policy)
    list(policy.nets["policy"].parameters())[-1].data[-2] -= 5  # some deviations fall below their range
    s, a, by_hand = DATA["obs"], DATA["act"], Working(policy)
    if threshold is not None:
        by_hand.nets["multiplier"][0] = np.array(-0.7)
        policy.nets["multiplier"].log_value.data.fill_(-0.7)

    def normal(*shape: int) -> Array:
        return torch.randn(NUM_ROWS, *shape, tiny.ACT_DIM, generator=by_hand.stream).numpy()

    losses = step_policy(by_hand, normal())
    eps_next = normal()
    uniform = torch.rand(NUM_ROWS, NUM_SAMPLES, tiny.ACT_DIM, generator=by_hand.stream).numpy()
    eps_here, eps_there = normal(NUM_SAMPLES), normal(NUM_SAMPLES)
    pi = by_hand.nets["policy"]

    def value(row: int) -> float:
        s_next = DATA["obs_next"][row : row + 1]
        return smallest(by_hand.slow, s_next, sample(pi, s_next, eps_next[row : row + 1]).act)[0]

    y = n_step_targets(DATA, value, gamma=GAMMA)
    s_next = np.where(DATA["terminated"][:, None], s, DATA["obs_next"])
    acts, log_p = [], []
    for i in range(NUM_SAMPLES):
        here, there = sample(pi, s, eps_here[:, i]), sample(pi, s_next, eps_there[:, i])
        acts += [MAX_ACTION * (2 * uniform[:, i] - 1), here.act, there.act]
        log_p += [np.full(NUM_ROWS, -tiny.ACT_DIM * np.log(2 * MAX_ACTION)), here.log_prob, there.log_prob]

    penalties, multiplier = [], 1.0 if threshold is None else np.exp(-0.7)
    for name in CRITICS:
        net = by_hand.nets[name]
        losses[f"{name}_loss"], grads = regress(net, cat(s, a), y)
        q, inputs = forward(net, cat(s, a))
        judged = [forward(net, cat(s, act)) for act in acts]
        logits = np.stack([out[:, 0] - log for (out, _), log in zip(judged, log_p, strict=True)], -1)
        penalties.append(ALPHA * np.mean(np.log(np.exp(logits).sum(-1)) - q[:, 0]))
        slope = multiplier * ALPHA / NUM_ROWS
        pulls = [backward(net, inputs, np.full_like(q, -slope))[0]]
        for (_, inputs_i), share in zip(judged, softmax(logits).T, strict=True):
            pulls.append(backward(net, inputs_i, slope * share[:, None])[0])
        by_hand.step(name, [sum(parts) for parts in zip(grads, *pulls, strict=True)])
    losses["penalty"] = np.mean(penalties)
    if threshold is not None:
        losses["multiplier"] = multiplier
        by_hand.step("multiplier", [np.array(-multiplier * np.mean(np.array(penalties) - threshold))])

    assert policy.learn(DATA).smoothed_loss == pytest.approx(losses, abs=1e-10)
    by_hand.check({name: soft_update(by_hand.slow[name], by_hand.nets[name], TAU) for name in by_hand.slow})


def test_gap_of_a_value_that_knows_no_action_is_the_log_of_the_samples_and_the_space() -> None:
    """Q constant over actions, uniform samples: log(M |A|), whatever the value; discrete actions once each: log |A|."""
    q = torch.tensor([3.0, -7.0])
    gap = conservative_gap(q[:, None].expand(2, 5), torch.full((2, 5), -math.log(2 * 1.5)), q)
    assert gap.item() == pytest.approx(math.log(5 * 3))
    assert conservative_gap(q[:, None].expand(2, 6), torch.zeros(2, 6), q).item() == pytest.approx(math.log(6))


def test_gradient_of_the_gap_sums_to_zero_over_the_values() -> None:
    """What the dataset's actions gain, the sampled ones lose."""
    q_sampled, q = torch.randn(7, 5, requires_grad=True), torch.randn(7, requires_grad=True)
    down, up = torch.autograd.grad(conservative_gap(q_sampled, torch.randn(7, 5), q), [q_sampled, q])
    assert (down > 0).all()
    torch.testing.assert_close(up, torch.full((7,), -1 / 7))
    torch.testing.assert_close(down.sum(-1), -up)


def test_gap_is_the_integral_over_the_actions() -> None:
    """Many samples of either source: log of the integral of exp(Q), and the log of their number."""
    num_samples, generator = 200_000, torch.Generator().manual_seed(0)
    act = 3 * torch.rand(1, num_samples, generator=generator) - 1.5
    normal = torch.distributions.Normal(0.2, 0.9)
    drawn = 0.2 + 0.9 * torch.randn(1, num_samples, generator=generator)
    grid = torch.linspace(-1.5, 1.5, 10_001)
    expected = torch.trapezoid((-2 * grid.square()).exp(), grid).log()

    def value(act: torch.Tensor) -> torch.Tensor:
        return torch.where(act.abs() < 1.5, -2 * act.square(), -torch.inf)

    for sampled, log_p in ((act, torch.full_like(act, -math.log(3))), (drawn, normal.log_prob(drawn))):
        gap = conservative_gap(value(sampled), log_p, torch.zeros(1)) - math.log(num_samples)
        assert gap.item() == pytest.approx(expected.item(), abs=5e-3)


def test_without_alpha_the_critics_are_those_of_their_regression() -> None:
    """The penalty is all that CQL adds: at alpha 0 the actions that are sampled for it do not matter."""
    policy = tiny.make_policy("cql", alpha=0.0, num_sampled_action=1)
    columns = {key: torch.as_tensor(column) for key, column in DATA.items()}
    columns |= {"rew": columns["rew"][:, None], "num_steps": torch.ones(NUM_ROWS, dtype=torch.long)}
    losses = []
    for fill in (0.1, 0.9):
        noise = {key: torch.full((NUM_ROWS, 1, tiny.ACT_DIM), fill) for key in ("uniform", "here", "there")}
        noise["next"] = torch.zeros(NUM_ROWS, tiny.ACT_DIM)
        critic_loss = policy.algorithm.stages[1].loss
        loss, metrics = critic_loss(policy.losses_view(), policy.targets_view(), columns, noise, policy.hp)
        losses += [loss.item(), (metrics["critic1_loss"] + metrics["critic2_loss"]).item()]
    assert losses == pytest.approx([losses[0]] * 4)


def test_multiplier_grows_where_the_penalty_is_above_its_threshold_and_shrinks_below() -> None:
    for threshold, is_growing in ((0.0, True), (1e6, False)):
        policy = tiny.make_policy("cql", lagrange_threshold=threshold)
        policy.learn(DATA)
        assert (policy.nets["multiplier"]().item() > 0) == is_growing
