import inspect
import itertools
from collections.abc import Callable
from functools import partial
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.optim import SGD
from torch.testing import assert_close

from bcq_exp.networks import Critic, Hidden
from bcq_exp.policies import BCQPolicy

MakeBCQ = Callable[..., BCQPolicy]
MakeCritic = Callable[[float], nn.Module]
Columns = dict[str, Any]
REQUIRED = inspect.Parameter.empty
HIDDEN: Hidden = {"hidden_sizes": [16], "activation": "relu"}

exactly = partial(assert_close, rtol=0, atol=0)


class Recorder:
    """Inputs and output of each call of a module."""

    def __init__(self, module: nn.Module) -> None:
        self.calls: list[tuple[tuple[Tensor, ...], Any]] = []
        module.register_forward_hook(lambda _, inputs, out: self.calls.append((inputs, out)))

    @property
    def num_rows(self) -> list[int]:
        return [len(inputs[0]) for inputs, _ in self.calls]


def test_signature_is_that_of_the_contract() -> None:
    parameters = inspect.signature(BCQPolicy).parameters
    assert {parameter.kind for parameter in parameters.values()} == {inspect.Parameter.KEYWORD_ONLY}
    assert {name: parameter.default for name, parameter in parameters.items()} == {
        **dict.fromkeys(["actor_perturbation", "actor_perturbation_optim", "critic", "critic_optim"], REQUIRED),
        **dict.fromkeys(["action_space", "vae", "vae_optim"], REQUIRED),
        "critic2": None,
        "critic2_optim": None,
        "device": "cpu",
        "gamma": 0.99,
        "tau": 0.005,
        "lmbda": 0.75,
        "forward_sampled_times": 100,
        "num_sampled_action": 10,
        "observation_space": None,
        "action_scaling": False,
        "action_bound_method": "clip",
        "lr_scheduler": None,
    }


# ------------------------------------------------------------------ acting


@pytest.mark.parametrize("num_samples", [1, 7])
def test_forward_is_one_batched_computation(make_bcq: MakeBCQ, num_samples: int) -> None:
    policy = make_bcq(forward_sampled_times=num_samples)
    recorders = {name: Recorder(policy.nets[name]) for name in policy.nets}
    out = policy({"obs": np.zeros((5, 3))})
    rows = [5 * num_samples]
    assert {name: recorder.num_rows for name, recorder in recorders.items()} == {
        **dict.fromkeys(["decoder", "actor", "critic1"], rows),
        "encoder": [],
        "critic2": [],
    }
    assert out.act.shape == (5, 2)
    assert out.state is None
    assert out.act.is_inference()
    assert not any(result.requires_grad for recorder in recorders.values() for _, result in recorder.calls)
    assert all(param.grad is None for param in policy.parameters())


def test_forward_takes_the_sample_that_the_first_critic_likes_best(make_bcq: MakeBCQ) -> None:
    policy = make_bcq(forward_sampled_times=7)
    critic, actor = Recorder(policy.nets["critic1"]), Recorder(policy.nets["actor"])
    act = policy({"obs": torch.randn(5, 3)}).act
    q = critic.calls[0][1].view(5, 7).numpy()
    candidates = actor.calls[0][1].view(5, 7, 2).numpy()
    best = q.argmax(1)
    assert len(set(best)) > 1
    np.testing.assert_array_equal(act, candidates[np.arange(5), best])


def test_more_samples_never_lower_the_value(make_bcq: MakeBCQ) -> None:
    policy, obs, latent = make_bcq(), torch.randn(50, 3), torch.randn(50, 20, 4)
    values = []
    for num_samples in (1, 5, 20):
        act = policy.algorithm.act(policy.losses_view(), {"obs": obs}, {"latent": latent[:, :num_samples]}, policy.hp)
        values.append(policy.nets["critic1"](obs, act["act"]))
    for fewer, more in itertools.pairwise(values):
        assert (more >= fewer).all()
        assert (more > fewer).any()


def test_rows_are_independent(make_bcq: MakeBCQ) -> None:
    policy, obs, latent = make_bcq(), torch.randn(6, 3), torch.randn(6, 9, 4)

    def act(obs: Tensor, latent: Tensor) -> Tensor:
        return policy.algorithm.act(policy.losses_view(), {"obs": obs}, {"latent": latent}, policy.hp)["act"]

    acts, permutation = act(obs, latent), torch.tensor([3, 0, 5, 1, 2, 4])
    assert_close(act(obs[permutation], latent[permutation]), acts[permutation])
    assert_close(act(torch.cat([obs[:1] + 9, obs[1:]]), latent)[1:], acts[1:])
    assert_close(act(obs[3:4], latent[3:4]), acts[3:4])


@pytest.mark.parametrize(
    ("method", "bound"), [("clip", np.clip), ("tanh", lambda act, *_: np.tanh(act)), (None, np.clip)]
)
def test_compute_action_is_in_the_units_of_the_environment(
    make_bcq: MakeBCQ, method: str | None, bound: Callable[..., NDArray[Any]]
) -> None:
    box = {"action_space": gym.spaces.Box(np.float32([-2, 0]), np.float32([2, 10])), "action_bound_method": method}
    policy = make_bcq(**box, action_scaling=True, observation_space=gym.spaces.Box(-9, 9, (3,)))
    obs = np.random.default_rng(0).standard_normal((4, 3))
    policy.seed_acting(1)
    act = bound(policy({"obs": obs}).act.numpy(), -1, 1)
    policy.seed_acting(1)
    np.testing.assert_allclose(policy.compute_action(obs), [-2, 0] + np.array([4, 10]) * (act + 1) / 2, rtol=1e-5)
    assert policy.compute_action(obs[0]).shape == (2,)
    assert make_bcq(**box, action_scaling=True).compute_action(obs).shape == (4, 2)


def test_actions_of_any_shape_reach_the_environment(make_bcq: MakeBCQ) -> None:
    policy = make_bcq(act_dim=6, action_space=gym.spaces.Box(-1, 1, (2, 3)))
    assert policy.compute_action(np.zeros((4, 3))).shape == (4, 2, 3)


# ------------------------------------------------------------------ learning


def test_latent_noise_is_clipped_but_for_the_reconstruction(make_bcq: MakeBCQ, continuous: Columns) -> None:
    policy = make_bcq(num_sampled_action=3, forward_sampled_times=5)
    decoder = Recorder(policy.nets["decoder"])
    policy.learn(continuous)
    policy(continuous)
    assert decoder.num_rows == [40, 40 * 3, 40, 40 * 5]
    largest = [inputs[1].abs().max().item() for inputs, _ in decoder.calls]
    assert largest[0] > 1
    assert largest[1:] == [0.5] * 3


@pytest.mark.parametrize("num_samples", [1, 4])
def test_the_target_samples_perturbs_and_judges(make_bcq: MakeBCQ, continuous: Columns, num_samples: int) -> None:
    policy = make_bcq(num_sampled_action=num_samples, lmbda=0.6, gamma=0.9, critic2=Critic(3, 2, **HIDDEN))
    nets = {name: Recorder(policy.nets[name]) for name in policy.nets}
    targets = {name: Recorder(policy.targets[name]) for name in policy.targets}
    stats = policy.learn(continuous)

    assert {name: target.num_rows for name, target in targets.items()} == {
        name: [40 * num_samples] for name in ("actor", "critic1", "critic2")
    }
    sampled, perturbed = nets["decoder"].calls[1][1], targets["actor"].calls[0][1]
    exactly(targets["actor"].calls[0][0][1], sampled)
    for name in ("critic1", "critic2"):
        exactly(targets[name].calls[0][0][1], perturbed)
    q1, q2 = (targets[name].calls[0][1].numpy().reshape(40, num_samples) for name in ("critic1", "critic2"))
    value = (0.6 * np.minimum(q1, q2) + 0.4 * np.maximum(q1, q2)).max(1)
    y = continuous["rew"] + 0.9 * np.where(continuous["terminated"], 0, value)
    for name, reported in (("critic1", stats.critic1_loss), ("critic2", stats.critic2_loss)):
        q = nets[name].calls[0][1].detach().numpy()
        assert reported == pytest.approx(((q - y) ** 2).mean(), rel=1e-5)


@pytest.mark.parametrize(
    ("numbers", "bootstrap"),
    [
        ({"lmbda": 1.0, "gamma": 0.5}, 0.5),
        ({"lmbda": 0.0, "gamma": 0.5}, 1.5),
        ({"lmbda": 0.75, "gamma": 0.5}, 0.75),
        ({"lmbda": 0.75, "gamma": 1.0}, 1.5),
        ({"lmbda": 0.75, "gamma": 0.0}, 0.0),
    ],
)
def test_lmbda_and_gamma_by_hand(
    make_bcq: MakeBCQ, constant_critic: MakeCritic, continuous: Columns, numbers: dict[str, float], bootstrap: float
) -> None:
    policy = make_bcq(critic=constant_critic(1.0), critic2=constant_critic(3.0), **numbers)
    batch = {name: column[[0, 9, 19]] for name, column in continuous.items()}  # goes on, terminated, truncated
    y = np.array([4.0, 4, 4]) + bootstrap * np.array([1, 0, 1])
    stats = policy.learn(batch | {"rew": np.array([4.0, 4, 4])})
    assert stats.critic1_loss == pytest.approx(((1 - y) ** 2).mean())
    assert stats.critic2_loss == pytest.approx(((3 - y) ** 2).mean())


@pytest.mark.parametrize("tau", [0.005, 0.3, 1.0])
def test_targets_follow_by_tau(make_bcq: MakeBCQ, continuous: Columns, tau: float) -> None:
    policy = make_bcq(tau=tau)
    old = {name: param.clone() for name, param in policy.targets.named_parameters()}
    policy.learn(continuous)
    new = dict(policy.nets.named_parameters())
    for name, target in policy.targets.named_parameters():
        assert not torch.equal(new[name], old[name])
        assert_close(target, tau * new[name] + (1 - tau) * old[name], rtol=1e-6, atol=1e-8)
        assert not target.requires_grad
        if tau == 1:
            exactly(target, new[name])


def test_sync_weight_is_one_soft_step(make_bcq: MakeBCQ, constant_critic: MakeCritic) -> None:
    policy = make_bcq(critic=constant_critic(1.0), tau=0.25)
    policy.nets["critic1"].linear.weight.data.fill_(5.0)
    assert policy.sync_weight() is None
    assert policy.targets["critic1"].linear.weight.item() == 2.0


def test_stages_train_their_own_networks_only(
    make_bcq: MakeBCQ, constant_critic: MakeCritic, continuous: Columns
) -> None:
    policy = make_bcq(
        critic=constant_critic(1.0), critic2=constant_critic(3.0), optimizer=partial(SGD, lr=0.0), gamma=0.0
    )
    stats = policy.learn(continuous | {"rew": np.zeros(40)})
    assert stats.actor_loss == -1
    # The derivative of (1 - 0)^2 alone: the actor's loss adds nothing.
    assert policy.nets["critic1"].linear.weight.grad.item() == pytest.approx(2)
    assert all((param.grad == 0).all() for param in policy.nets["actor"].parameters())


def test_returns_in_the_batch_are_the_target(
    make_bcq: MakeBCQ, constant_critic: MakeCritic, continuous: Columns
) -> None:
    policy = make_bcq(critic=constant_critic(1.0), critic2=constant_critic(3.0))
    stats = policy.learn(continuous | {"returns": np.full(40, 7.0)})
    assert (stats.critic1_loss, stats.critic2_loss) == (36, 16)
