"""TD3 (arXiv:1802.09477, algorithm 1) on a fixed dataset, and the parts that other algorithms share.

Shape suffixes: B batch, A action.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn, no_grad

from bcq_exp.algorithms import diagnostics
from bcq_exp.algorithms.bc import deterministic_act
from bcq_exp.algorithms.definition import Definition
from bcq_exp.algorithms.form import Algorithm, Draw, Loss, Nets, Stage, Target, Tensors
from bcq_exp.algorithms.schema import ContinuousConfig
from bcq_exp.fields import within
from bcq_exp.networks import Actor, Critic, MLPNetworkConfig, Sizes
from bcq_exp.ops.td import n_step_target

CRITICS = ("critic1", "critic2")

SWEPT = frozenset({"gamma", "tau", "policy_noise", "noise_clip"})


@dataclass(kw_only=True)
class TD3Config(ContinuousConfig):
    """Keys of `conf/algorithm/td3.yaml`."""

    gamma: float = within(0, 1)
    tau: float = within(0, 1, is_low_open=True)
    policy_noise: float = within(0)
    noise_clip: float = within(0)
    policy_freq: int = within(1)


def smoothed_action(targets: Nets, batch: Tensors, noise: Tensors, hp: Tensors, max_action: float) -> Tensor:
    """clip(pi'(s') + clip(eps, -c, c), -max, max), eps ~ N(0, sigma^2)    (eq. 15, and algorithm 1's code).

    Args:
        targets, batch, noise, hp: of a loss; sigma and c are relative to `max_action`.
        max_action: largest magnitude of an action, in policy units.
    """
    limit = hp["noise_clip"] * max_action
    eps_BA = torch.clamp(hp["policy_noise"] * max_action * noise["eps"], -limit, limit)
    act_BA: Tensor = targets["actor"](batch["obs_next"]) + eps_BA
    return act_BA.clamp(-max_action, max_action)


def smallest_value(critics: Nets, obs: Tensor, act_BA: Tensor) -> Tensor:
    """min_j Q_j(s, a), (B,)    (eq. 10)."""
    return torch.minimum(critics["critic1"](obs, act_BA), critics["critic2"](obs, act_BA))


def twin_regression(nets: Nets, batch: Tensors, y_B: Tensor) -> tuple[Tensor, Tensors]:
    """sum_j mean (y - Q_j(s, a))^2    (algorithm 1), and each critic's term."""
    critic1 = F.mse_loss(nets["critic1"](batch["obs"], batch["act"]), y_B)
    critic2 = F.mse_loss(nets["critic2"](batch["obs"], batch["act"]), y_B)
    return critic1 + critic2, {"critic1_loss": critic1, "critic2_loss": critic2}


def critic_loss(max_action: float) -> Loss:
    """The regression towards y = r + gamma (1 - terminated) min_j Q_j'(s', a'), a' smoothed    (eq. 10 and 15)."""

    def loss(nets: Nets, targets: Nets, batch: Tensors, noise: Tensors, hp: Tensors) -> tuple[Tensor, Tensors]:
        with no_grad():
            act_BA = smoothed_action(targets, batch, noise, hp, max_action)
            value_B = smallest_value(targets, batch["obs_next"], act_BA)
            y_B = n_step_target(batch["rew"], batch["num_steps"], batch["terminated"], value_B, hp["gamma"])
        return twin_regression(nets, batch, y_B)

    return loss


def actor_loss(nets: Nets, targets: Nets, batch: Tensors, noise: Tensors, hp: Tensors) -> tuple[Tensor, Tensors]:
    """-Q1(s, pi(s))    (algorithm 1, the deterministic policy gradient)."""
    loss = -nets["critic1"](batch["obs"], nets["actor"](batch["obs"])).mean()
    return loss, {"actor_loss": loss}


def build(
    *,
    critic_loss: Loss,
    actor_loss: Loss,
    act_dim: int,
    policy_freq: int,
    swept: frozenset[str],
    fields: tuple[str, ...] = (),
) -> Algorithm:
    """Twin critics at every update, actor and targets at every `policy_freq`-th    (algorithm 1).

    Args:
        critic_loss: of both critics; its noise is `eps`, (B, A).
        actor_loss: of the actor.
        act_dim: dimensions of an action.
        policy_freq: in updates.
        swept, fields: see `Algorithm`.
    """
    return Algorithm(
        stages=(
            Stage(critic_loss, trains=CRITICS, noise={"eps": Draw("normal", (act_dim,))}),
            Stage(actor_loss, trains=("actor",), every=policy_freq),
        ),
        targets={name: Target(name, rate="tau", every=policy_freq) for name in ("actor", *CRITICS)},
        act=deterministic_act,
        diagnose=diagnostics.of_critics(deterministic_act, CRITICS),
        swept=swept,
        scalar=CRITICS,
        fields=fields,
    )


def twin_critics(network: MLPNetworkConfig, sizes: Sizes, *, has_layer_norm: bool = False) -> dict[str, nn.Module]:
    """Two critics with weights of their own, whose losses are `twin_regression`; the keyword is that of `Critic`."""
    return {
        name: Critic(sizes.obs_dim, sizes.act_dim, has_layer_norm=has_layer_norm, **network.hidden) for name in CRITICS
    }


def from_config(cfg: TD3Config, sizes: Sizes) -> Algorithm:
    """The algorithm that a configuration describes."""
    return build(
        critic_loss=critic_loss(sizes.max_action),
        actor_loss=actor_loss,
        act_dim=sizes.act_dim,
        policy_freq=cfg.policy_freq,
        swept=SWEPT,
    )


def networks(cfg: TD3Config, network: MLPNetworkConfig, sizes: Sizes) -> dict[str, nn.Module]:
    """A deterministic actor and twin critics with weights of their own."""
    return {
        "actor": Actor(sizes.obs_dim, sizes.act_dim, max_action=sizes.max_action, **network.hidden),
        **twin_critics(network, sizes),
    }


DEFINITION = Definition(TD3Config, from_config, networks, SWEPT, ("critics", "actor"))
