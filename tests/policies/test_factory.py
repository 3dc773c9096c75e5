from collections.abc import Iterable

import gymnasium as gym
import pytest
import torch

from bcq_exp.algorithms import REGISTRY
from bcq_exp.networks import Sizes
from bcq_exp.policies import MultipleLRSchedulers, Policy
from bcq_exp.policies.factory import make_policy
from cases import checked

SIZES = Sizes(obs_shape=(3,), act_dim=2, max_action=1.0)
SPACES = {True: gym.spaces.Discrete(2), False: gym.spaces.Box(-1, 1, (2,))}
DATASETS = {True: "dataset=cartpole-noisy", False: "dataset=pendulum-noisy"}


def adam(role: str | None, params: Iterable[torch.nn.Parameter]) -> tuple[torch.optim.Optimizer, None]:
    return torch.optim.Adam(params, lr=0.5), None


def policy_of(name: str, *overrides: str, make_optimizer=adam) -> Policy:
    is_discrete = REGISTRY[name].is_discrete
    cfg = checked(f"algorithm={name}", DATASETS[is_discrete], *overrides)
    return make_policy(
        cfg.algorithm,
        REGISTRY[name].networks(cfg.algorithm, cfg.network, SIZES),
        SIZES,
        make_optimizer=make_optimizer,
        action_space=SPACES[is_discrete],
        observation_space=gym.spaces.Box(-1, 1, (3,)),
        device=torch.device("cpu"),
    )


@pytest.mark.parametrize("name", sorted(REGISTRY))
def test_every_algorithm_is_made_the_same_way(name: str):
    policy = policy_of(name)
    assert type(policy) is Policy
    for trained in {net for stage in policy.algorithm.stages for net in stage.trains}:
        assert policy.optimizers[trained].param_groups[0]["lr"] == 0.5


def test_what_the_configuration_says_reaches_the_policy():
    discrete = policy_of(
        "discrete_bcq", "algorithm.gamma=0.5", "algorithm.unlikely_action_threshold=0.25", "algorithm.estimation_step=4"
    )
    assert (float(discrete.gamma), float(discrete.unlikely_action_threshold)) == (0.5, 0.25)
    assert discrete.algorithm.num_steps == 4
    continuous = policy_of("bcq", "algorithm.lmbda=0.25", "algorithm.tau=0.5", "algorithm.num_sampled_action=3")
    assert (float(continuous.lmbda), float(continuous.tau)) == (0.25, 0.5)
    assert continuous.algorithm.stages[1].noise["latent"].shape == (3, 4)
    assert float(policy_of("bcq", "algorithm.phi=0.5").nets["actor"].phi) == 0.5


def test_quantiles_widen_the_critic_alone():
    policy = policy_of("discrete_bcq", "algorithm.num_quantiles=7", "algorithm.clip_loss_grad=true")
    assert policy.nets["model"](torch.zeros(1, 3)).shape == (1, 7 * 2)
    assert policy.nets["imitator"](torch.zeros(1, 3)).shape == (1, 2)


@pytest.mark.parametrize("name", sorted(REGISTRY))
def test_the_networks_of_a_role_have_one_optimizer_that_holds_each_parameter_once(name: str):
    policy, definition = policy_of(name), REGISTRY[name]
    by_optimizer: dict[int, list[str]] = {}
    for net, optimizer in policy.optimizers.items():
        by_optimizer.setdefault(id(optimizer), []).append(net)
    assert len(by_optimizer) == len({definition.role(net) for net in policy.optimizers})
    for nets in by_optimizer.values():
        assert len({definition.role(net) for net in nets}) == 1
        held = [id(param) for group in policy.optimizers[nets[0]].param_groups for param in group["params"]]
        assert sorted(held) == sorted(id(param) for net in nets for param in policy.nets[net].parameters())


def test_every_role_gets_its_optimizer_and_its_schedule():
    made: dict[str | None, torch.optim.lr_scheduler.LRScheduler] = {}

    def make_optimizer(role: str | None, params: Iterable[torch.nn.Parameter]):
        optimizer = torch.optim.Adam(params)
        made[role] = torch.optim.lr_scheduler.ConstantLR(optimizer)
        return optimizer, None if role == "vae" else made[role]

    policy = policy_of("bcq", make_optimizer=make_optimizer)
    assert list(made) == ["vae", "critics", "perturbation"]
    owners = {"encoder": "vae", "decoder": "vae", "critic1": "critics", "critic2": "critics", "actor": "perturbation"}
    assert {net: made[role].optimizer for net, role in owners.items()} == policy.optimizers
    assert isinstance(policy.lr_scheduler, MultipleLRSchedulers)
    assert policy.lr_scheduler.schedulers == (made["critics"], made["perturbation"])


def test_roles_that_share_layers_are_refused():
    policy = policy_of("iql")
    nets = {**dict(policy.nets.items()), "value": policy.nets["policy"]}
    cfg = checked("algorithm=iql", DATASETS[False])
    with pytest.raises(AssertionError, match="policy shares layers with another role"):
        make_policy(
            cfg.algorithm,
            nets,
            SIZES,
            make_optimizer=adam,
            action_space=SPACES[False],
            observation_space=gym.spaces.Box(-1, 1, (3,)),
            device=torch.device("cpu"),
        )
