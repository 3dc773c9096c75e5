from typing import Any

import numpy as np
import pytest
import torch

from algorithms import tiny
from algorithms.golden import Adam, Array, Weights, assert_same, backward, cat, forward, n_step_targets, soft_update
from algorithms.vae_working import vae_gradients
from bcq_exp.algorithms import bear
from bcq_exp.policies import Policy

GAMMA, TAU, LMBDA, SIGMA, THRESHOLD, MAX_ACTION = 0.9, 0.3, 0.75, 2.0, 0.05, 1.5
NUM_MATCHED, NUM_SAMPLES, NUM_ACTING, LATENT = 4, 5, 6, 2 * tiny.ACT_DIM
CRITICS = ("critic1", "critic2", "critic3")
DATA = tiny.data(is_discrete=False)
NUM_ROWS = len(DATA["rew"])


def make_policy(**changed: Any) -> Policy:
    policy = tiny.make_policy("bear", max_action=MAX_ACTION, **changed)
    with torch.no_grad():  # deviations that are neither nothing nor without bound, and critics that none leads
        for nets, name in ((policy.nets, "policy"), (policy.targets, "policy"), (policy.nets, "encoder")):
            list(nets[name].parameters())[-2].mul_(0.02)
        s = torch.as_tensor(DATA["obs"])
        q = [policy.nets[name](s, torch.zeros(NUM_ROWS, tiny.ACT_DIM)) for name in CRITICS if name in policy.nets]
        for name, values in zip(CRITICS, q, strict=False):
            list(policy.nets[name].parameters())[-1].sub_(values.median())
    return policy


class Gaussian:
    """Samples mean + std eps of the policy, (B, N, A), and the gradients of the network from theirs."""

    def __init__(self, net: Weights, s: Array, eps: Array) -> None:
        self.net, self.eps = net, eps
        out, self.inputs = forward(net, s)
        mean, self.free = np.split(out, 2, -1)
        self.std = np.exp(self.free.clip(-20, 2))[:, None]
        self.raw = mean[:, None] + self.std * eps

    def gradients(self, d_raw: Array) -> Weights:
        is_inside = (self.free > -20) & (self.free < 2)
        d_log_std = (d_raw * self.std * self.eps).sum(1) * is_inside
        return backward(self.net, self.inputs, cat(d_raw.sum(1), d_log_std))[0]


def root_mmd(x: Array, y: Array, *, is_gaussian: bool) -> tuple[float, Array]:
    """sqrt(MMD^2 + 1e-6) of two sets of samples (N, A), by all pairs, and its gradient in the second set."""

    def kernel(one: Array, other: Array) -> tuple[float, Array]:
        d = one - other
        k = np.exp(-(d @ d if is_gaussian else abs(d).sum()) / (2 * SIGMA))
        return k, -k * (2 * d if is_gaussian else np.sign(d)) / (2 * SIGMA)  # and its slope in `one`

    total, slope = 0.0, np.zeros_like(y)
    for i in range(len(y)):
        for j in range(len(y)):
            k, d_one = kernel(y[i], y[j])
            total += (k + kernel(x[i], x[j])[0] - 2 * kernel(y[i], x[j])[0]) / len(y) ** 2
            slope[i] += (2 * d_one - 2 * kernel(y[i], x[j])[1]) / len(y) ** 2
    root = np.sqrt(total + 1e-6)
    return root, slope / (2 * root)


@pytest.mark.parametrize("kernel", ["laplacian", "gaussian"])
def test_golden_updates(kernel: str) -> None:
    """Two updates of arXiv:1906.00949: in the first (`warmup` 1) the policy learns the constraint alone.

    As in the published code: raw actions are compared, the root has 1e-6 under it, the policy's noise is clipped in
    its own loss and not in the target, and each critic is averaged over the samples before the smallest is taken.
    """
    policy = make_policy(kernel=kernel)
    with torch.no_grad():
        policy.nets["multiplier"].log_value.fill_(0.7)
    nets = {name: tiny.arrays(net) for name, net in policy.nets.items()}
    slow = {name: tiny.arrays(net) for name, net in policy.targets.items()}
    optimizers = {name: Adam(tiny.LR) for name in nets}
    stream, s, a = tiny.replay(policy), DATA["obs"], DATA["act"]

    def normal(*shape: int, clip: float = np.inf) -> Array:
        return torch.randn(NUM_ROWS, *shape, generator=stream).numpy().clip(-clip, clip)

    for is_warm in (True, False):
        vae_loss, grads = vae_gradients(nets["encoder"], nets["decoder"], s, a, normal(LATENT), MAX_ACTION)
        losses = {"vae_loss": vae_loss}
        for name in ("encoder", "decoder"):
            nets[name] = optimizers[name].step(nets[name], grads[name])

        eps_next = normal(NUM_SAMPLES, tiny.ACT_DIM)

        def value(row: int, slow: dict[str, Weights] = slow, eps: Array = eps_next) -> float:
            s_next, values = DATA["obs_next"][row], []
            for act in MAX_ACTION * np.tanh(Gaussian(slow["policy"], s_next[None], eps[row : row + 1]).raw[0]):
                judged = [forward(slow[name], cat(s_next, act))[0][0] for name in CRITICS]
                values.append(LMBDA * min(judged) + (1 - LMBDA) * max(judged))
            return max(values)

        y = n_step_targets(DATA, value, gamma=GAMMA)[:, None]
        for name in CRITICS:
            q, inputs = forward(nets[name], cat(s, a))
            losses[f"{name}_loss"] = np.mean((q - y) ** 2)
            grads[name], _ = backward(nets[name], inputs, 2 * (q - y) / NUM_ROWS)
            nets[name] = optimizers[name].step(nets[name], grads[name])

        latent = normal(NUM_MATCHED, LATENT, clip=0.5)
        drawn = Gaussian(nets["policy"], s, normal(NUM_MATCHED, tiny.ACT_DIM, clip=0.5))
        repeated = np.repeat(s[:, None], NUM_MATCHED, 1)
        cloned = forward(nets["decoder"], cat(repeated, latent))[0]
        pairs = [root_mmd(x, u, is_gaussian=kernel == "gaussian") for x, u in zip(cloned, drawn.raw, strict=True)]
        multiplier = np.exp(nets["multiplier"][0])
        losses |= {"mmd": np.mean([mmd for mmd, _ in pairs]), "multiplier": multiplier}
        d_raw = multiplier * np.stack([slope for _, slope in pairs]) / NUM_ROWS
        if not is_warm:
            act = MAX_ACTION * np.tanh(drawn.raw)
            judged = [forward(nets[name], cat(repeated, act)) for name in CRITICS]
            q = np.stack([out[..., 0].mean(1) for out, _ in judged])
            smallest = q.argmin(0)
            assert len(set(smallest)) > 1
            losses["actor_loss"] = -q.min(0).mean()
            for number, (name, (out, inputs)) in enumerate(zip(CRITICS, judged, strict=True)):
                d_q = np.where(smallest == number, -1.0, 0.0)[:, None, None] / (NUM_ROWS * NUM_MATCHED)
                flat = [layer.reshape(-1, layer.shape[-1]) for layer in inputs]
                _, d_pair = backward(nets[name], flat, np.broadcast_to(d_q, out.shape).reshape(-1, 1))
                d_act = d_pair[:, tiny.OBS_DIM :].reshape(act.shape)
                d_raw = d_raw + d_act * MAX_ACTION * (1 - np.tanh(drawn.raw) ** 2)
        grads["policy"] = drawn.gradients(d_raw)
        grads["multiplier"] = [np.array(-multiplier * (losses["mmd"] - THRESHOLD))]
        for name in ("policy", "multiplier"):
            nets[name] = optimizers[name].step(nets[name], grads[name])
        slow = {name: soft_update(slow[name], nets[name], TAU) for name in slow}

        policy.smoothed_loss.clear()
        assert policy.learn(DATA).smoothed_loss == pytest.approx(losses, abs=1e-9)
        assert nets.keys() == policy.nets.keys()
        for name in nets:
            assert_same(tiny.gradients(policy.nets[name]), grads[name])
            assert_same(tiny.arrays(policy.nets[name]), nets[name])
        assert slow.keys() == policy.targets.keys()
        for name in slow:
            assert_same(tiny.arrays(policy.targets[name]), slow[name])


def test_during_warm_up_the_critics_have_no_say() -> None:
    one, other = make_policy(warmup=2), make_policy(warmup=2)
    for name in CRITICS:
        tiny.scatter(other.nets[name])
    for policy in (one, other):
        policy.seed(0)
        for _ in range(2):
            policy.learn(DATA)
    assert_same(tiny.arrays(one.nets["policy"]), tiny.arrays(other.nets["policy"]))
    for policy in (one, other):
        policy.learn(DATA)
    assert np.abs(tiny.arrays(one.nets["policy"])[0] - tiny.arrays(other.nets["policy"])[0]).max() > 1e-6


@pytest.mark.parametrize(
    ("log_multiplier", "excess", "slope"),
    [(0.0, 0.5, 0.5), (1.0, -0.2, -0.2 * np.e), (10.0, 0.5, 0.0), (10.1, 0.5, 0.0), (-5.0, -0.1, 0.0)],
)
def test_the_multiplier_follows_the_excess_inside_its_bounds(
    log_multiplier: float, excess: float, slope: float
) -> None:
    log_value = torch.tensor(log_multiplier, requires_grad=True)
    (grad,) = torch.autograd.grad(bear.multiplier_loss(log_value, torch.tensor(excess)), log_value)
    assert float(grad) == pytest.approx(-slope)


@pytest.mark.parametrize(("log_multiplier", "excess"), [(10.1, -0.5), (-5.1, 0.5)])
def test_the_multiplier_comes_back_from_beyond_its_bounds(log_multiplier: float, excess: float) -> None:
    log_value = torch.tensor(log_multiplier, requires_grad=True)
    (grad,) = torch.autograd.grad(bear.multiplier_loss(log_value, torch.tensor(excess)), log_value)
    assert -grad * excess > 0


@torch.no_grad()
def test_the_policy_takes_the_best_of_its_samples() -> None:
    policy = make_policy()
    noise = torch.randn(NUM_ROWS, NUM_ACTING, tiny.ACT_DIM, generator=policy.acting_noise.clone_state()).numpy()
    act = policy({"obs": DATA["obs"]}).act.numpy()
    raw = Gaussian(tiny.arrays(policy.nets["policy"]), DATA["obs"], noise).raw
    chosen = set()
    for row, candidates in enumerate(MAX_ACTION * np.tanh(raw)):
        pairs = cat(np.repeat(DATA["obs"][row : row + 1], NUM_ACTING, 0), candidates)
        best = forward(tiny.arrays(policy.nets["critic1"]), pairs)[0].argmax()
        np.testing.assert_allclose(act[row], candidates[best], atol=1e-12)
        chosen.add(int(best))
    assert len(chosen) > 1
