"""Continuous BCQ as a documented class."""

import copy
import inspect
from collections.abc import Iterable
from typing import Any

import gymnasium as gym
import torch
from torch import nn
from torch.optim import Optimizer

from bcq_exp.algorithms import bcq
from bcq_exp.fields import check_ranges
from bcq_exp.networks import VAE
from bcq_exp.policies.base import Policy
from bcq_exp.policies.schedulers import Scheduler
from bcq_exp.policies.stats import BCQTrainingStats


class BCQPolicy(Policy):
    """Batch-Constrained deep Q-learning for continuous actions (arXiv:1812.02900, algorithm 1).

    Args:
        actor_perturbation: (obs, act) to the perturbed action, both (B, A): xi together with the sum and the clip.
        actor_perturbation_optim: holds its parameters.
        critic: (obs, act) to values (B,) or (B, 1).
        critic_optim: holds its parameters.
        action_space: a Box.
        vae: has `encoder` (obs, act) -> (mean, std), `decoder` (obs, latent) -> act, and `latent_dim`.
        vae_optim: holds the parameters of both halves.
        critic2: the twin; None makes one of the same architecture with initial weights of its own.
        critic2_optim: of the twin; None makes one with the settings of `critic_optim`.
        device: of all tensors.
        gamma: discount, in [0, 1].
        tau: rate of the soft target updates, in (0, 1].
        lmbda: weight of the smaller target value in soft clipped double Q, in [0, 1].
        forward_sampled_times: actions sampled in `forward`, of which the best is taken.
        num_sampled_action: actions sampled in the target, over which the maximum is taken.
        observation_space: tells a single observation from a batch in `compute_action`.
        action_scaling: map [-1, 1] to the Box.
        action_bound_method: "clip", "tanh" or None.
        lr_scheduler: stepped once an `update`; `MultipleLRSchedulers` holds several. For the twin's rate to follow one,
            pass `critic2` and `critic2_optim`.

    Raises:
        ValueError: a number outside its range, a Box that `clip` without scaling cannot reach, a parameter that no
            optimizer holds, a critic whose twin cannot be initialised anew, a `critic2` that is `critic` itself.

    Departs from well-known implementations: each action sampled for the target is perturbed by the target perturbation
    network, as the paper says; the twin critics differ; a time limit is not terminal.
    """

    def __init__(
        self,
        *,
        actor_perturbation: nn.Module,
        actor_perturbation_optim: Optimizer,
        critic: nn.Module,
        critic_optim: Optimizer,
        action_space: gym.Space[Any],
        vae: VAE,
        vae_optim: Optimizer,
        critic2: nn.Module | None = None,
        critic2_optim: Optimizer | None = None,
        device: str | torch.device = "cpu",
        gamma: float = 0.99,
        tau: float = 0.005,
        lmbda: float = 0.75,
        forward_sampled_times: int = 100,
        num_sampled_action: int = 10,
        observation_space: gym.Space[Any] | None = None,
        action_scaling: bool = False,
        action_bound_method: str | None = "clip",
        lr_scheduler: Scheduler | None = None,
    ) -> None:
        check_ranges(
            bcq.BCQConfig,
            gamma=gamma,
            tau=tau,
            lmbda=lmbda,
            forward_sampled_times=forward_sampled_times,
            num_sampled_action=num_sampled_action,
        )
        if not isinstance(action_space, gym.spaces.Box):
            raise ValueError(f"BCQPolicy needs a Box of actions, found {action_space}; see DiscreteBCQPolicy")
        if critic2 is None:
            if critic2_optim is not None:
                raise ValueError("critic2_optim is given without critic2: it cannot hold the twin's parameters")
            critic2 = twin(critic)
        if critic2 is critic:
            raise ValueError("critic2 is critic: the twin must be a module of its own; None makes one")
        critic2_optim = critic2_optim or like(critic_optim, critic2.parameters())
        super().__init__(
            algorithm=bcq.build(
                num_sampled_action=num_sampled_action,
                forward_sampled_times=forward_sampled_times,
                latent_dim=vae.latent_dim,
            ),
            nets={
                "actor": actor_perturbation,
                "critic1": critic,
                "critic2": critic2,
                "encoder": vae.encoder,
                "decoder": vae.decoder,
            },
            optimizers={
                "actor": actor_perturbation_optim,
                "critic1": critic_optim,
                "critic2": critic2_optim,
                "encoder": vae_optim,
                "decoder": vae_optim,
            },
            hp={"gamma": gamma, "tau": tau, "lmbda": lmbda},
            action_space=action_space,
            observation_space=observation_space,
            device=device,
            action_scaling=action_scaling,
            action_bound_method=action_bound_method,
            lr_scheduler=lr_scheduler,
        )

    def _stats(self, losses: dict[str, float], train_time: float) -> BCQTrainingStats:
        return BCQTrainingStats(train_time=train_time, smoothed_loss=dict(self.smoothed_loss), **losses)


def twin(critic: nn.Module) -> nn.Module:
    """A module of the same architecture whose weights are drawn anew by each layer's `reset_parameters`.

    Raises:
        ValueError: a parameter belongs to a layer without that method; its twin would be an identical copy.
    """
    copied = copy.deepcopy(critic)
    for name, module in copied.named_modules():
        if hasattr(module, "reset_parameters"):
            module.reset_parameters()
        elif next(module.parameters(recurse=False), None) is not None:
            raise ValueError(f"{name or type(critic).__name__} has no reset_parameters: pass critic2 yourself")
    return copied


def like(optimizer: Optimizer, params: Iterable[nn.Parameter]) -> Optimizer:
    """A new optimizer of the same kind with the same settings.

    Raises:
        ValueError: the given one has several parameter groups, so its settings are ambiguous.
    """
    if len(optimizer.param_groups) != 1:
        raise ValueError("critic_optim has several parameter groups: pass critic2 and critic2_optim too")
    group, accepted = optimizer.param_groups[0], inspect.signature(type(optimizer)).parameters
    return type(optimizer)(params, **{key: group[key] for key in accepted if key in group and key != "params"})
