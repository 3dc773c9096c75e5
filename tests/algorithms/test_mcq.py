from functools import partial

import numpy as np
import pytest
import torch

from algorithms import soft_working, tiny
from algorithms.gaussian_working import CRITICS, DATA, GAMMA, MAX_ACTION, NUM_ROWS, TAU, Working, regress, smallest
from algorithms.golden import Array, assert_same, backward, cat, forward, n_step_targets, soft_update
from algorithms.soft_working import spread
from algorithms.vae_working import sampler, vae_gradients
from bcq_exp.algorithms.mcq import excess_loss, pseudo_target

LMBDA, NUM_SAMPLES, LATENT = 0.75, 4, 2 * tiny.ACT_DIM  # as in `tiny.CONFIGS`
BOUNDS = {"low": -5.0, "slope_eps": 1e-6}  # of the published code
sample, step_policy = (partial(each, **BOUNDS) for each in (soft_working.sample, soft_working.step_policy))


@pytest.mark.parametrize(("excess", "lowest"), [("square", 0.0), ("square", None), ("rectified", None)])
def test_golden_update(excess: str, lowest: float | None) -> None:
    """Algorithm 1 of arXiv:2206.04745: generative model, critics, SAC's policy.

    As in the published code, the policy's actions at s and at s' are pulled, or with `rectified` pulled down only, to
    the smaller of the twins' largest values over the generative model's actions, or to the lowest value allowed; the
    target of the dataset's actions has the entropy.
    """
    policy = tiny.make_policy("mcq", max_action=MAX_ACTION, excess=excess, pseudo_target_min=lowest)
    spread(policy)
    list(policy.nets["policy"].parameters())[-1].data[-2] -= 5  # some deviations fall below their range
    list(policy.nets["encoder"].parameters())[-2].data *= 0.01  # deviations that leave 1e-10
    s, a, by_hand = DATA["obs"], DATA["act"], Working(policy)

    def normal(*shape: int) -> Array:
        return torch.randn(NUM_ROWS, *shape, generator=by_hand.stream).numpy()

    losses = {}
    nets = by_hand.nets
    losses["vae_loss"], grads = vae_gradients(nets["encoder"], nets["decoder"], s, a, normal(LATENT), MAX_ACTION)
    for name in ("encoder", "decoder"):
        by_hand.step(name, grads[name])

    eps_next = normal(tiny.ACT_DIM)
    noise = [(normal(NUM_SAMPLES, tiny.ACT_DIM), normal(NUM_SAMPLES, LATENT).clip(-0.5, 0.5)) for _ in range(2)]
    alpha, decode = np.exp(nets["temperature"][0]), sampler(nets["decoder"], MAX_ACTION)

    def value(row: int) -> float:
        s_next = DATA["obs_next"][row : row + 1]
        at = sample(nets["policy"], s_next, eps_next[row : row + 1])
        return (smallest(by_hand.slow, s_next, at.act) - alpha * at.log_prob)[0]

    y = n_step_targets(DATA, value, gamma=GAMMA)
    places = (s, np.where(DATA["terminated"][:, None], s, DATA["obs_next"]))
    pairs, pseudo = [], []
    for place, (eps, z) in zip(places, noise, strict=True):
        best = [
            np.max([forward(nets[name], cat(place, decode(place, z[:, i])))[0][:, 0] for i in range(NUM_SAMPLES)], 0)
            for name in CRITICS
        ]
        for i in range(NUM_SAMPLES):
            pairs.append(cat(place, sample(nets["policy"], place, eps[:, i]).act))
            pseudo.append(np.minimum(*best) if lowest is None else np.minimum(*best).clip(lowest))

    losses["excess_loss"], shares = 0.0, []
    for name in CRITICS:
        losses[f"{name}_loss"], grads = regress(nets[name], cat(s, a), y)
        parts = [[LMBDA * grad for grad in grads]]
        for pair, bound in zip(pairs, pseudo, strict=True):
            q, inputs = forward(nets[name], pair)
            over = q - bound[:, None]
            shares.append((over > 0).mean())
            if excess == "rectified":
                over = np.maximum(over, 0)
            losses["excess_loss"] += np.sum(over**2) / (len(pairs) * NUM_ROWS)
            d_q = (1 - LMBDA) * 2 * over / (len(pairs) * NUM_ROWS)
            parts.append(backward(nets[name], inputs, d_q)[0])
        by_hand.step(name, [sum(of) for of in zip(*parts, strict=True)])
    is_lowest = [bound == lowest for bound in pseudo]
    assert lowest is None or 0 < np.mean(is_lowest) < 1, "the bound shall act on some pseudo targets, and not on all"
    assert 0 < np.mean(shares) < 1, "some of the policy's actions shall be worth more than is known, and not all"
    losses |= step_policy(by_hand, normal(tiny.ACT_DIM))

    assert policy.learn(DATA).smoothed_loss == pytest.approx(losses, abs=1e-10)
    by_hand.check({name: soft_update(by_hand.slow[name], by_hand.nets[name], TAU) for name in by_hand.slow})


def test_at_lambda_one_the_policys_actions_are_free() -> None:
    """The critics' gradient is that of their regression alone."""
    policy, columns = tiny.make_policy("mcq", lmbda=1.0), {key: torch.as_tensor(column) for key, column in DATA.items()}
    columns |= {"rew": columns["rew"][:, None], "num_steps": torch.ones(NUM_ROWS, dtype=torch.long)}
    stage = policy.algorithm.stages[1]
    noise = {name: draw.sample(NUM_ROWS, policy.learning_noise) for name, draw in stage.noise.items()}
    loss, metrics = stage.loss(policy.losses_view(), policy.targets_view(), columns, noise, policy.hp)
    params = [param for name in CRITICS for param in policy.nets[name].parameters()]
    regression = metrics["critic1_loss"] + metrics["critic2_loss"]
    found, expected = (torch.autograd.grad(each, params, retain_graph=True) for each in (loss, regression))
    assert metrics["excess_loss"] > 0
    assert_same([grad.numpy() for grad in found], [grad.numpy() for grad in expected])


@pytest.mark.parametrize(("excess", "loss", "slopes"), [
    ("rectified", 1 / 4, [[0, 0.5], [0, 0]]),  # of 3 above 2; 5 is not above 5
    ("square", (1 + 1 + 25 + 0) / 4, [[-0.5, 0.5], [-2.5, 0]]),
])  # fmt: skip
def test_excess_by_hand(excess: str, loss: float, slopes: list[list[float]]) -> None:
    """Of values 1 and 3 where 2 is known, 0 and 5 where 5 is."""
    q, y = torch.tensor([[1.0, 3.0], [0.0, 5.0]], requires_grad=True), torch.tensor([2.0, 5.0])
    found = excess_loss(q, y, excess)
    assert found.item() == pytest.approx(loss)
    assert torch.autograd.grad(found, q)[0].tolist() == slopes


def test_pseudo_targets_by_hand() -> None:
    """Twins worth -3 and 1, then -1 and 2, in two actions: the smaller of the largest is 1; of -3 and -2, -2."""
    values = torch.tensor([[[-3.0, 1.0], [-3.0, -2.0]], [[-1.0, 2.0], [-1.0, 0.0]]])
    nets = {"decoder": lambda obs, latent: latent[..., :1]} | {
        name: lambda obs, act, q=q: q for name, q in zip(CRITICS, values, strict=True)
    }
    obs, latent = torch.zeros(2, tiny.OBS_DIM), torch.zeros(2, 2, LATENT)
    assert pseudo_target(nets, obs, latent, None).tolist() == [1, -2]
    assert pseudo_target(nets, obs, latent, 0.0).tolist() == [1, 0]


@torch.no_grad()
def test_pseudo_target_of_equal_actions_is_the_smaller_of_the_twins_there() -> None:
    policy, obs = tiny.make_policy("mcq"), torch.as_tensor(DATA["obs"])
    latent = torch.randn(NUM_ROWS, 1, LATENT)
    act = policy.nets["decoder"](obs, latent[:, 0])
    expected = torch.minimum(*(policy.nets[name](obs, act) for name in CRITICS))
    found = pseudo_target(policy.losses_view(), obs, latent.expand(-1, 3, -1), None)
    torch.testing.assert_close(found, expected)
