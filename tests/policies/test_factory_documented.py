"""The documented classes against the policies that configurations make: one mathematics, two ways to a policy."""

import copy
from collections.abc import Callable
from functools import partial
from typing import Any

import gymnasium as gym
import pytest
import torch
from torch import nn
from torch.optim import Adam
from torch.testing import assert_close

from bcq_exp.algorithms import REGISTRY
from bcq_exp.data import ReplayBuffer
from bcq_exp.networks import VAE, Sizes
from bcq_exp.policies import BCQPolicy, DiscreteBCQPolicy, Policy
from bcq_exp.policies.factory import make_policy
from cases import checked

ADAM = partial(Adam, lr=1e-2)
BOX, DISCRETE = gym.spaces.Box(-2, 2, (2,)), gym.spaces.Discrete(4)
DISCRETE_KEYS = {"estimation_step": 3, "target_update_freq": 2, "reward_normalization": True, "clip_loss_grad": True}


def configured(name: str, space: gym.Space[Any], *overrides: str) -> Policy:
    cfg = checked(f"algorithm={name}", "network.hidden_sizes=[8]", "network.vae_hidden_sizes=[8]", *overrides)
    act_dim = 4 if space is DISCRETE else 2
    sizes = Sizes(obs_shape=(3,), act_dim=act_dim, max_action=1.0)
    return make_policy(
        cfg.algorithm,
        REGISTRY[name].networks(cfg.algorithm, cfg.network, sizes),
        sizes,
        make_optimizer=lambda role, params: (ADAM(params), None),
        action_space=space,
        observation_space=gym.spaces.Box(-1, 1, (3,)),
        device=torch.device("cpu"),
    )


def bcq() -> tuple[Policy, Policy]:
    ours = configured("bcq", BOX, "dataset=pendulum-noisy", "algorithm.tau=0.1", "algorithm.lmbda=0.6")
    nets: dict[str, Any] = copy.deepcopy(dict(ours.nets.items()))
    vae = VAE(nets["encoder"], nets["decoder"])
    documented = BCQPolicy(
        actor_perturbation=nets["actor"],
        actor_perturbation_optim=ADAM(nets["actor"].parameters()),
        critic=nets["critic1"],
        critic_optim=ADAM(nets["critic1"].parameters()),
        critic2=nets["critic2"],
        critic2_optim=ADAM(nets["critic2"].parameters()),
        vae=vae,
        vae_optim=ADAM(vae.parameters()),
        action_space=BOX,
        tau=0.1,
        lmbda=0.6,
        action_scaling=True,
    )
    return ours, documented


def discrete_bcq() -> tuple[Policy, Policy]:
    keys = [f"algorithm.{key}={value}" for key, value in DISCRETE_KEYS.items()]
    ours = configured("discrete_bcq", DISCRETE, *keys)
    nets = copy.deepcopy(dict(ours.nets.items()))
    optim = ADAM(nn.ModuleList(nets.values()).parameters())
    documented = DiscreteBCQPolicy(**nets, optim=optim, action_space=DISCRETE, **DISCRETE_KEYS)
    return ours, documented


@pytest.mark.parametrize(("make", "columns"), [(bcq, "continuous"), (discrete_bcq, "discrete")])
@pytest.mark.parametrize("method", ["learn", "update"])
def test_both_ways_learn_the_same_on_the_same_batches_and_noise(
    make: Callable[[], tuple[Policy, Policy]], columns: str, method: str, request: pytest.FixtureRequest
):
    policies = make()
    learned = []
    for policy in policies:
        buffer = ReplayBuffer(**request.getfixturevalue(columns), seed=5)
        policy.seed(3)
        policy.prepare(buffer)
        losses = []
        for first in range(6):
            if method == "update":
                stats = policy.update(16, buffer)
            else:
                stats = policy.learn(buffer.window(torch.arange(first, 40, 2), policy.algorithm.num_steps))
            losses.append(stats.smoothed_loss)
        learned.append((losses, policy.state_dict(), policy.eval().compute_action(buffer.obs)))
    (losses, weights, acts), (other_losses, other_weights, other_acts) = learned
    assert losses[0] != losses[-1]
    assert_close(losses, other_losses, rtol=1e-5, atol=1e-6)
    assert_close(weights, other_weights, rtol=1e-5, atol=1e-6)
    assert_close(acts, other_acts, rtol=1e-5, atol=1e-5)
