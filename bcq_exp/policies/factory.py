"""Policies from checked configurations."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import gymnasium as gym
import torch
from torch import nn
from torch.optim import Optimizer

from bcq_exp.algorithms import REGISTRY
from bcq_exp.algorithms.form import Algorithm
from bcq_exp.algorithms.schema import AlgorithmConfig
from bcq_exp.networks import Sizes
from bcq_exp.policies.base import Policy
from bcq_exp.policies.optimizers import unique
from bcq_exp.policies.schedulers import MultipleLRSchedulers, Scheduler


def make_policy(
    cfg: AlgorithmConfig,
    nets: Mapping[str, nn.Module],
    sizes: Sizes,
    *,
    make_optimizer: Callable[[Iterable[nn.Parameter]], Optimizer],
    make_schedule: Callable[[Optimizer], Scheduler | None],
    action_space: gym.Space[Any],
    observation_space: gym.Space[Any],
    device: torch.device,
) -> Policy:
    """The policy of a configuration, the same way for every algorithm of the registry.

    Args:
        cfg: of an algorithm in the registry.
        nets: its networks, on the device.
        sizes: of observations and actions, as the networks have them.
        make_optimizer: called once for each group of networks that one stage trains, with their parameters.
        make_schedule: called once for each optimizer; returns None where rates are constant.
        action_space, observation_space: of the environment.
        device: of all tensors.
    """
    algorithm = REGISTRY[cfg.name].build(cfg, sizes)
    optims = _optimizers(algorithm, nets, make_optimizer)
    return Policy(
        algorithm=algorithm,
        nets=nets,
        optimizers=optims,
        hp={name: getattr(cfg, name) for name in algorithm.swept},
        action_space=action_space,
        observation_space=observation_space,
        device=device,
        **cfg.action_rule,
        lr_scheduler=_schedules(optims.values(), make_schedule),
    )


def _optimizers(
    algorithm: Algorithm,
    nets: Mapping[str, nn.Module],
    make_optimizer: Callable[[Iterable[nn.Parameter]], Optimizer],
) -> dict[str, Optimizer]:
    """One optimizer for the networks that a stage trains: they may share layers, which must step once."""
    optims: dict[str, Optimizer] = {}
    for trained in dict.fromkeys(stage.trains for stage in algorithm.stages):
        modules = nn.ModuleList([nets[name] for name in trained])
        optims |= dict.fromkeys(trained, make_optimizer(modules.parameters()))
    return optims


def _schedules(
    optimizers: Iterable[Optimizer], make_schedule: Callable[[Optimizer], Scheduler | None]
) -> Scheduler | None:
    schedules = [schedule for optimizer in unique(optimizers) if (schedule := make_schedule(optimizer)) is not None]
    return MultipleLRSchedulers(*schedules) if schedules else None
