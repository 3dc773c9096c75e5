"""Policies from checked configurations."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import gymnasium as gym
import torch
from torch import nn
from torch.optim import Optimizer

from bcq_exp.algorithms import REGISTRY
from bcq_exp.algorithms.definition import Definition
from bcq_exp.algorithms.form import Algorithm
from bcq_exp.algorithms.schema import AlgorithmConfig
from bcq_exp.networks import Sizes
from bcq_exp.policies.base import Policy
from bcq_exp.policies.schedulers import MultipleLRSchedulers, Scheduler

MakeOptimizer = Callable[[str | None, Iterable[nn.Parameter]], tuple[Optimizer, Scheduler | None]]
"""(role, parameters) to their optimizer, and the schedule of its rate; None where the rate is constant.

The role is one of the algorithm's definition, or None where it has none.
"""


def make_policy(
    cfg: AlgorithmConfig,
    nets: Mapping[str, nn.Module],
    sizes: Sizes,
    *,
    make_optimizer: MakeOptimizer,
    action_space: gym.Space[Any],
    observation_space: gym.Space[Any],
    device: torch.device,
) -> Policy:
    """The policy of a configuration, the same way for every algorithm of the registry.

    Args:
        cfg: of an algorithm in the registry.
        nets: its networks, on the device.
        sizes: of observations and actions, as the networks have them.
        make_optimizer: called once for each role, with the parameters of its networks.
        action_space, observation_space: of the environment.
        device: of all tensors.
    """
    definition = REGISTRY[cfg.name]
    algorithm = definition.build(cfg, sizes)
    optimizers, schedules = _optimizers(definition, algorithm, nets, make_optimizer)
    return Policy(
        algorithm=algorithm,
        nets=nets,
        optimizers=optimizers,
        hp={name: getattr(cfg, name) for name in algorithm.swept},
        action_space=action_space,
        observation_space=observation_space,
        device=device,
        **cfg.action_rule,
        lr_scheduler=MultipleLRSchedulers(*schedules) if schedules else None,
    )


def _optimizers(
    definition: Definition, algorithm: Algorithm, nets: Mapping[str, nn.Module], make_optimizer: MakeOptimizer
) -> tuple[dict[str, Optimizer], list[Scheduler]]:
    """The optimizer of each trained network, the same one for the networks of a role, and the schedules."""
    by_role: dict[str | None, list[str]] = {}
    for name in dict.fromkeys(name for stage in algorithm.stages for name in stage.trains):
        by_role.setdefault(definition.role(name), []).append(name)
    optimizers: dict[str, Optimizer] = {}
    schedules: list[Scheduler] = []
    held: set[int] = set()
    for role, names in by_role.items():
        params = list(nn.ModuleList([nets[name] for name in names]).parameters())
        assert held.isdisjoint(map(id, params)), f"{role} shares layers with another role: they must step once"
        held |= {id(param) for param in params}
        optimizer, schedule = make_optimizer(role, params)
        optimizers |= dict.fromkeys(names, optimizer)
        schedules += [] if schedule is None else [schedule]
    return optimizers, schedules
