"""TD3+BC (arXiv:2106.06860, section 5).

Departures: the paper normalises observations by the dataset's statistics; here they are used as they are. The paper
writes lambda with |Q| at the dataset's actions; as in the published code it is taken at the policy's.

Shape suffixes: B batch, A action.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn, no_grad

from bcq_exp.algorithms.bc import deterministic_act
from bcq_exp.algorithms.form import Algorithm, Draw, Nets, Stage, Target, Tensors
from bcq_exp.algorithms.schema import ContinuousConfig, MLPNetworkConfig, Sizes, within
from bcq_exp.networks import Actor, Critic
from bcq_exp.ops.td import n_step_target

SWEPT = frozenset({"gamma", "tau", "alpha", "policy_noise", "noise_clip"})


@dataclass(kw_only=True)
class TD3BCConfig(ContinuousConfig):
    """Keys of `conf/algorithm/td3_bc.yaml`."""

    gamma: float = within(0, 1)
    tau: float = within(0, 1, is_low_open=True)
    alpha: float = within(0)
    policy_noise: float = within(0)
    noise_clip: float = within(0)
    policy_freq: int = within(1)


def actor_loss(nets: Nets, targets: Nets, batch: Tensors, noise: Tensors, hp: Tensors) -> tuple[Tensor, Tensors]:
    """-lambda Q1(s, pi(s)) + (pi(s) - a)^2 with lambda = alpha / mean |Q1(s, pi(s))|    (eq. 3 to 5)."""
    act_BA = nets["actor"](batch["obs"])
    q_B = nets["critic1"](batch["obs"], act_BA)
    bc_loss = F.mse_loss(act_BA, batch["act"])
    loss = -hp["alpha"] / q_B.detach().abs().mean() * q_B.mean() + bc_loss
    return loss, {"actor_loss": loss, "bc_loss": bc_loss}


def from_config(cfg: TD3BCConfig, sizes: Sizes) -> Algorithm:
    """TD3+BC as stages: critics at every update, actor and targets at every `policy_freq`-th."""

    def td3_target(targets: Nets, batch: Tensors, noise: Tensors, hp: Tensors) -> Tensor:
        """r + gamma (1 - terminated) min_j Q_j'(s', clip(pi'(s') + eps))    (arXiv:1802.09477, eq. 15)."""
        limit = hp["noise_clip"] * sizes.max_action
        eps_BA = torch.clamp(hp["policy_noise"] * sizes.max_action * noise["eps"], -limit, limit)
        act_BA = (targets["actor"](batch["obs_next"]) + eps_BA).clamp(-sizes.max_action, sizes.max_action)
        q1_B, q2_B = (targets[name](batch["obs_next"], act_BA) for name in ("critic1", "critic2"))
        value_B = torch.minimum(q1_B, q2_B)
        return n_step_target(batch["rew"], batch["num_steps"], batch["terminated"], value_B, hp["gamma"])

    def critic_loss(nets: Nets, targets: Nets, batch: Tensors, noise: Tensors, hp: Tensors) -> tuple[Tensor, Tensors]:
        with no_grad():
            y_B = td3_target(targets, batch, noise, hp)
        critic1 = F.mse_loss(nets["critic1"](batch["obs"], batch["act"]), y_B)
        critic2 = F.mse_loss(nets["critic2"](batch["obs"], batch["act"]), y_B)
        return critic1 + critic2, {"critic1_loss": critic1, "critic2_loss": critic2}

    return Algorithm(
        stages=(
            Stage(critic_loss, trains=("critic1", "critic2"), noise={"eps": Draw("normal", (sizes.act_dim,))}),
            Stage(actor_loss, trains=("actor",), every=cfg.policy_freq),
        ),
        targets={name: Target(name, rate="tau", every=cfg.policy_freq) for name in ("actor", "critic1", "critic2")},
        act=deterministic_act,
        swept=SWEPT,
    )


def networks(cfg: TD3BCConfig, network: MLPNetworkConfig, sizes: Sizes) -> dict[str, nn.Module]:
    """A deterministic actor and twin critics with weights of their own."""
    return {
        "actor": Actor(sizes.obs_dim, sizes.act_dim, max_action=sizes.max_action, **network.hidden),
        "critic1": Critic(sizes.obs_dim, sizes.act_dim, **network.hidden),
        "critic2": Critic(sizes.obs_dim, sizes.act_dim, **network.hidden),
    }
