from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import gymnasium as gym
import pytest
import torch
from torch import Tensor, nn
from torch.optim import SGD, Adam, AdamW, Optimizer, RMSprop

from bcq_exp.policies import BCQPolicy
from bcq_exp.policies.bcq import like

MakeBCQ = Callable[..., BCQPolicy]
MakeCritic = Callable[[float], nn.Module]
Columns = dict[str, Any]


def test_the_twin_is_of_the_same_architecture_with_weights_and_optimizer_of_its_own(
    make_bcq: MakeBCQ, continuous: Columns
) -> None:
    policy = make_bcq(optimizer=partial(AdamW, lr=0.02, betas=(0.8, 0.9), weight_decay=0.3))
    first, second = policy.nets["critic1"], policy.nets["critic2"]
    pairs = list(zip(first.named_parameters(), second.named_parameters(), strict=True))
    assert str(first) == str(second)
    for (name, param), (twin_name, twin_param) in pairs:
        assert (name, param.shape) == (twin_name, twin_param.shape)
        assert not torch.isclose(param, twin_param).any()
    optims = policy.optimizers
    assert optims["critic2"] is not optims["critic1"]
    assert type(optims["critic2"]) is AdamW
    settings = [
        {key: value for key, value in optims[name].param_groups[0].items() if key != "params"}
        for name in ("critic1", "critic2")
    ]
    assert settings[0] == settings[1]
    assert (settings[1]["lr"], settings[1]["weight_decay"]) == (0.02, 0.3)
    assert {id(param) for param in optims["critic2"].param_groups[0]["params"]} == {id(p) for p in second.parameters()}
    before = [param.clone() for param in second.parameters()]
    policy.learn(continuous)
    assert not any(torch.equal(old, new) for old, new in zip(before, second.parameters(), strict=True))


def test_a_given_twin_learns_by_its_optimizer(
    make_bcq: MakeBCQ, constant_critic: MakeCritic, continuous: Columns
) -> None:
    twins = [constant_critic(3.0) for _ in range(2)]
    still = make_bcq(critic2=twins[0], critic2_optim=SGD(twins[0].parameters(), lr=0.0))
    moving = make_bcq(critic2=twins[1])
    for policy in (still, moving):
        policy.learn(continuous)
    assert twins[0].linear.weight.item() == 3
    assert twins[1].linear.weight.item() != 3
    assert moving.optimizers["critic2"].param_groups[0]["lr"] == 1e-2


class Bare(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, obs: Tensor, act: Tensor) -> Tensor:
        return self.scale * obs[:, 0]


def test_impossible_twins_are_errors(make_bcq: MakeBCQ, constant_critic: MakeCritic) -> None:
    with pytest.raises(ValueError, match=r"Bare has no reset_parameters: pass critic2 yourself"):
        make_bcq(critic=Bare())
    make_bcq(critic=Bare(), critic2=Bare())
    critic = constant_critic(1.0)
    with pytest.raises(ValueError, match=r"critic2_optim is given without critic2"):
        make_bcq(critic2_optim=SGD(critic.parameters()))
    with pytest.raises(ValueError, match=r"critic2 is critic"):
        make_bcq(critic=critic, critic2=critic)
    with pytest.raises(ValueError, match=r"optimizer of critic2 does not hold its parameter linear\.weight"):
        make_bcq(critic2=critic, critic2_optim=SGD(constant_critic(1.0).parameters()))


@pytest.mark.parametrize(
    ("key", "value", "allowed"),
    [
        ("gamma", 1.1, r"\[0, 1\]"),
        ("tau", 0, r"\(0, 1\]"),
        ("tau", 2, r"\(0, 1\]"),
        ("lmbda", -0.1, r"\[0, 1\]"),
        ("lmbda", float("nan"), r"\[0, 1\]"),
        ("forward_sampled_times", 0, r"\[1, inf\)"),
        ("num_sampled_action", 0, r"\[1, inf\)"),
    ],
)
def test_numbers_out_of_range_are_errors(make_bcq: MakeBCQ, key: str, value: float, allowed: str) -> None:
    with pytest.raises(ValueError, match=rf"{key}={value} is outside {allowed}"):
        make_bcq(**{key: value})


def test_spaces_and_optimizers_must_fit(make_bcq: MakeBCQ, constant_critic: MakeCritic) -> None:
    with pytest.raises(ValueError, match=r"BCQPolicy needs a Box of actions, found Discrete\(3\)"):
        make_bcq(action_space=gym.spaces.Discrete(3))
    with pytest.raises(ValueError, match=r"'clip' keeps actions in \[-1, 1\].*set action_scaling=True"):
        make_bcq(action_space=gym.spaces.Box(-2, 2, (2,)))
    make_bcq(action_space=gym.spaces.Box(-2, 2, (2,)), action_scaling=True)
    make_bcq(action_space=gym.spaces.Box(-2, 2, (2,)), action_bound_method=None)
    other = constant_critic(1.0)
    for name, part in (("actor_perturbation", "actor"), ("critic", "critic1"), ("vae", "decoder")):
        with pytest.raises(ValueError, match=rf"optimizer of {part} does not hold its parameter"):
            make_bcq(**{f"{name}_optim": SGD(other.parameters(), lr=0.1)})


@pytest.mark.parametrize(
    "make",
    [
        partial(SGD, lr=0.3, momentum=0.9, nesterov=True),
        partial(Adam, lr=0.3, betas=(0.5, 0.6), eps=1e-3, weight_decay=0.1, amsgrad=True),
        partial(AdamW, lr=0.3, betas=(0.5, 0.6), weight_decay=0.1),
        partial(RMSprop, lr=0.3, alpha=0.5, centered=True),
    ],
)
def test_like_has_the_same_kind_and_settings(make: Callable[[Iterable[nn.Parameter]], Optimizer]) -> None:
    given = make(nn.Linear(1, 1).parameters())
    torch.optim.lr_scheduler.LinearLR(given, start_factor=0.5)
    params = list(nn.Linear(1, 1).parameters())
    made = like(given, params)
    assert type(made) is type(given)
    (group,), (wanted,) = made.param_groups, given.param_groups
    assert all(held is param for held, param in zip(group["params"], params, strict=True))
    assert {key: group[key] for key in group if key != "params"} == {
        key: wanted[key] for key in wanted if key not in ("params", "initial_lr")
    }
    assert not made.state


def test_like_refuses_several_groups() -> None:
    given = SGD([{"params": nn.Linear(1, 1).parameters(), "lr": lr} for lr in (0.1, 0.2)])
    with pytest.raises(ValueError, match=r"several parameter groups: pass critic2 and critic2_optim"):
        like(given, nn.Linear(1, 1).parameters())
