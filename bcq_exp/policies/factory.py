"""Policies from checked configurations."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import gymnasium as gym
import torch
from torch import nn
from torch.optim import Optimizer

from bcq_exp.algorithms import REGISTRY
from bcq_exp.algorithms.bcq import BCQConfig
from bcq_exp.algorithms.discrete_bcq import DiscreteBCQConfig
from bcq_exp.algorithms.form import Algorithm
from bcq_exp.algorithms.schema import AlgorithmConfig
from bcq_exp.networks import VAE, Decoder, Encoder
from bcq_exp.networks.schema import Sizes
from bcq_exp.policies.base import Policy
from bcq_exp.policies.bcq import BCQPolicy
from bcq_exp.policies.discrete_bcq import DiscreteBCQPolicy
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
    """The documented class where there is one, else the general policy.

    Args:
        cfg: of an algorithm in the registry.
        nets: its networks, on the device.
        sizes: what they were built for.
        make_optimizer: called once for the parameters of each part that learns on its own.
        make_schedule: called once for each optimizer; returns None where rates are constant.
        action_space, observation_space: of the environment.
        device: where everything lies.
    """
    if isinstance(cfg, DiscreteBCQConfig) and cfg.num_quantiles is None:  # the documented class has one value an action
        optim = make_optimizer(nn.ModuleList(nets.values()).parameters())
        return DiscreteBCQPolicy(
            model=nets["model"],
            imitator=nets["imitator"],
            optim=optim,
            action_space=action_space,
            observation_space=observation_space,
            discount_factor=cfg.gamma,
            eval_eps=cfg.eval_eps,
            unlikely_action_threshold=cfg.unlikely_action_threshold,
            imitation_logits_penalty=cfg.imitation_logits_penalty,
            **cfg.q_learning,
            lr_scheduler=_schedules([optim], make_schedule),
        )
    if isinstance(cfg, BCQConfig):
        encoder, decoder = nets["encoder"], nets["decoder"]
        assert isinstance(encoder, Encoder)
        assert isinstance(decoder, Decoder)
        vae = VAE(encoder, decoder)
        modules = {"actor": nets["actor"], "critic1": nets["critic1"], "critic2": nets["critic2"], "vae": vae}
        optims = {name: make_optimizer(module.parameters()) for name, module in modules.items()}
        return BCQPolicy(
            actor_perturbation=nets["actor"],
            actor_perturbation_optim=optims["actor"],
            critic=nets["critic1"],
            critic_optim=optims["critic1"],
            critic2=nets["critic2"],
            critic2_optim=optims["critic2"],
            vae=vae,
            vae_optim=optims["vae"],
            action_space=action_space,
            observation_space=observation_space,
            device=device,
            gamma=cfg.gamma,
            tau=cfg.tau,
            lmbda=cfg.lmbda,
            forward_sampled_times=cfg.forward_sampled_times,
            num_sampled_action=cfg.num_sampled_action,
            **cfg.action_rule,
            lr_scheduler=_schedules(optims.values(), make_schedule),
        )
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
    """One for the networks that a stage trains: they may share layers, which are to step once."""
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
