from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch

from algorithms import tiny
from algorithms.golden import Adam, Weights, assert_same, backward, cat, forward, n_step_targets, soft_update
from algorithms.vae_working import sampler, vae_gradients
from bcq_exp.algorithms import REGISTRY, bcq
from bcq_exp.networks import VAE, Sizes
from bcq_exp.policies import BCQPolicy

GAMMA, TAU, LMBDA, PHI, MAX_ACTION, NUM_SAMPLES, LATENT = 0.9, 0.3, 0.75, 0.3, 1.5, 4, 2 * tiny.ACT_DIM
DATA = tiny.data(is_discrete=False)
NUM_ROWS = len(DATA["rew"])


def make_policy(**changed: Any) -> BCQPolicy:
    nets: dict[str, Any] = tiny.networks("bcq", tiny.config("bcq", phi=PHI), max_action=MAX_ACTION)
    vae = VAE(nets["encoder"], nets["decoder"])
    arguments = {
        "actor_perturbation": nets["actor"],
        "actor_perturbation_optim": tiny.adam(nets["actor"]),
        "critic": nets["critic1"],
        "critic_optim": tiny.adam(nets["critic1"]),
        "critic2": nets["critic2"],
        "action_space": gym.spaces.Box(-MAX_ACTION, MAX_ACTION, (tiny.ACT_DIM,)),
        "action_bound_method": None,
        "vae": vae,
        "vae_optim": tiny.adam(vae),
        "gamma": GAMMA,
        "tau": TAU,
        "lmbda": LMBDA,
        "num_sampled_action": NUM_SAMPLES,
    }
    policy = BCQPolicy(**arguments | changed)
    tiny.scatter(policy.targets)
    return policy


def test_golden_update() -> None:
    """Algorithm 1 of arXiv:1812.02900 with the target of section 4.2, worked out for one batch.

    The order is generative model, critics, perturbation, each on the weights that the one before left. Beyond the
    paper's text, as in its published code: squared errors are means over the batch.
    """
    policy = make_policy()
    s, a = DATA["obs"], DATA["act"]
    encoder_bias = list(policy.nets["encoder"].parameters())[-1].detach()
    encoder_bias[-1], encoder_bias[-2] = -6.0, 0.5  # so that the clamp acts on one latent dimension
    nets = {name: tiny.arrays(net) for name, net in policy.nets.items()}
    slow = {name: tiny.arrays(net) for name, net in policy.targets.items()}
    grads: dict[str, Weights] = {}

    stream = tiny.replay(policy)
    noise = torch.randn(NUM_ROWS, LATENT, generator=stream).numpy()
    z_next = torch.randn(NUM_ROWS, NUM_SAMPLES, LATENT, generator=stream).numpy().clip(-0.5, 0.5)
    z = torch.randn(NUM_ROWS, LATENT, generator=stream).numpy().clip(-0.5, 0.5)

    stats = policy.learn(DATA)

    vae_loss, vae_grads = vae_gradients(nets["encoder"], nets["decoder"], s, a, noise, MAX_ACTION)
    grads |= vae_grads
    for name in ("encoder", "decoder"):
        nets[name] = Adam(tiny.LR).step(nets[name], grads[name])

    sample = sampler(nets["decoder"], MAX_ACTION)

    # The critics: r + gamma max_i [lmbda min_j Q_j' + (1 - lmbda) max_j Q_j'](s', a_i + xi'(s', a_i)).
    def value(row: int) -> float:
        values = []
        for z_i in z_next[row]:
            s_next = DATA["obs_next"][row]
            a_i = sample(s_next, z_i)
            xi = PHI * MAX_ACTION * np.tanh(forward(slow["actor"], cat(s_next, a_i))[0])
            pair = cat(s_next, (a_i + xi).clip(-MAX_ACTION, MAX_ACTION))
            twins = [forward(slow[name], pair)[0][0] for name in ("critic1", "critic2")]
            values.append(LMBDA * min(twins) + (1 - LMBDA) * max(twins))
        return max(values)

    y = n_step_targets(DATA, value, gamma=GAMMA)
    critic_loss = {}
    for name in ("critic1", "critic2"):
        q, inputs = forward(nets[name], cat(s, a))
        critic_loss[name] = np.mean((q[:, 0] - y) ** 2)
        grads[name], _ = backward(nets[name], inputs, 2 * (q - y[:, None]) / NUM_ROWS)
        nets[name] = Adam(tiny.LR).step(nets[name], grads[name])

    # The perturbation: -mean Q1(s, clip(a_1 + xi(s, a_1))), an action sampled anew.
    sampled = sample(s, z)
    raw, actor_inputs = forward(nets["actor"], cat(s, sampled))
    moved = sampled + PHI * MAX_ACTION * np.tanh(raw)
    q, critic_inputs = forward(nets["critic1"], cat(s, moved.clip(-MAX_ACTION, MAX_ACTION)))
    _, d_pair = backward(nets["critic1"], critic_inputs, np.full_like(q, -1 / NUM_ROWS))
    is_inside = abs(moved) < MAX_ACTION
    assert 0 < is_inside.mean() < 1, "the clip shall act on some actions, and not on all"
    d_raw = d_pair[:, tiny.OBS_DIM :] * is_inside * PHI * MAX_ACTION * (1 - np.tanh(raw) ** 2)
    grads["actor"], _ = backward(nets["actor"], actor_inputs, d_raw)
    nets["actor"] = Adam(tiny.LR).step(nets["actor"], grads["actor"])

    losses = [stats.vae_loss, stats.critic1_loss, stats.critic2_loss, stats.actor_loss]
    assert losses == pytest.approx([vae_loss, critic_loss["critic1"], critic_loss["critic2"], -q.mean()], abs=1e-10)
    assert nets.keys() == policy.nets.keys()
    for name in nets:
        assert_same(tiny.gradients(policy.nets[name]), grads[name])
        assert_same(tiny.arrays(policy.nets[name]), nets[name])
    assert slow.keys() == policy.targets.keys()
    for name in slow:
        assert_same(tiny.arrays(policy.targets[name]), soft_update(slow[name], nets[name], TAU))


def test_twin_critics_have_weights_of_their_own() -> None:
    policies = {
        "registry": tiny.make_policy("bcq"),
        "given": make_policy(),
        "made": make_policy(critic2=None),
    }
    for origin, policy in policies.items():
        for one, other in zip(policy.nets["critic1"].parameters(), policy.nets["critic2"].parameters(), strict=True):
            assert one.shape == other.shape
            assert (one != other).all(), origin


@torch.no_grad()
def test_policy_is_the_best_of_the_perturbed_samples_for_each_observation() -> None:
    """pi(s) = argmax over a_i + xi(s, a_i) of Q1, by a loop over observations and samples."""
    policy = make_policy(forward_sampled_times=6)
    noise = torch.randn(NUM_ROWS, 6, LATENT, generator=policy.acting_noise.clone_state()).clamp(-0.5, 0.5)
    act, nets, chosen = policy({"obs": DATA["obs"]}).act, policy.nets, set()
    for row, s in enumerate(torch.as_tensor(DATA["obs"])):
        candidates = [nets["actor"](s, nets["decoder"](s, z)) for z in noise[row]]
        best = int(torch.stack([nets["critic1"](s, a) for a in candidates]).argmax())
        torch.testing.assert_close(act[row], candidates[best])
        chosen.add(best)
    assert len(chosen) > 1


@torch.no_grad()
def test_with_one_sample_and_no_perturbation_the_target_is_clipped_double_q_learning() -> None:
    policy = make_policy(lmbda=1.0, num_sampled_action=1)
    policy.targets["actor"].phi.zero_()
    batch = {
        "rew": torch.ones(5, 1),
        "num_steps": torch.ones(5, dtype=torch.long),
        "terminated": torch.tensor([False, False, True, False, False]),
        "obs_next": torch.randn(5, tiny.OBS_DIM),
    }
    z = torch.randn(5, 1, LATENT)
    y = bcq.bcq_target(policy.losses_view(), policy.targets_view(), batch, {"latent": z}, policy.hp)
    a = policy.nets["decoder"](batch["obs_next"], z[:, 0])
    q = torch.minimum(*(policy.targets[name](batch["obs_next"], a) for name in ("critic1", "critic2")))
    torch.testing.assert_close(y, 1 + GAMMA * q * ~batch["terminated"])


def test_latent_has_twice_the_dimensions_of_an_action() -> None:
    nets: dict[str, Any] = tiny.networks("bcq", tiny.config("bcq"))
    assert nets["encoder"].latent_dim == LATENT
    algorithm = REGISTRY["bcq"].build(tiny.config("bcq"), Sizes((tiny.OBS_DIM,), tiny.ACT_DIM, 1.0))
    assert [stage.noise["latent"].shape for stage in algorithm.stages] == [(LATENT,), (NUM_SAMPLES, LATENT), (LATENT,)]


def test_saturation_by_hand() -> None:
    """Of five perturbations that the bounds leave whole three are beyond 0.95 of the largest, 0.2; one is cut."""
    sampled_BA = torch.tensor([[0.0, 0.0], [0.5, 0.5], [0.95, -0.5]])
    perturbed_BA = torch.tensor([[0.199, 0.18], [0.305, 0.6], [1.0, -0.695]])
    assert bcq.saturation(sampled_BA, perturbed_BA, 0.2, 1.0) == pytest.approx(3 / 5)
    assert bcq.saturation(sampled_BA, sampled_BA, 0.0, 1.0) == 0
    assert bcq.saturation(torch.ones(1, 2), torch.ones(1, 2), 0.2, 1.0) == 0


def test_diagnostics_by_hand() -> None:
    """One row, one action dimension, two latent ones; of three sampled actions the first critic likes the last best."""
    nets = {
        "encoder": lambda obs, act: (torch.tensor([[1.0, 0.0]]), torch.tensor([[2.0, 1.0]])),
        "decoder": lambda obs, latent: latent.sum(-1, keepdim=True) / 10,
        "actor": lambda obs, act: act + 0.2,
        "critic1": lambda obs, act: 10 * act[:, 0],
        "critic2": lambda obs, act: torch.full((len(obs),), 4.0),
    }
    batch = {"obs": torch.zeros(1, 3), "act": torch.tensor([[0.7]]), "returns": torch.tensor([2.0])}
    latent = torch.tensor([[[0.1, 0.1], [0.0, 0.0], [0.5, 0.5]]])  # actions 0.02, 0 and 0.1
    noise = {"latent": latent, "posterior": torch.tensor([[1.0, -1.0]])}  # z = (3, -1), so the action is 0.2
    found = bcq.diagnosis(0.2, 1.0)(nets, batch, noise, {})
    assert {name: float(value) for name, value in found.items()} == pytest.approx(
        {
            "return_logged": 2,
            "q_logged": (7 + 4) / 2,
            "q_policy": (10 * (0.1 + 0.2) + 4) / 2,
            "critic_gap": 3,
            "saturation": 1,
            "reconstruction": (0.7 - 0.2) ** 2,
            "kl": (1 + 4 - 1 - np.log(4) + 0) / 2 / 2,
        }
    )
