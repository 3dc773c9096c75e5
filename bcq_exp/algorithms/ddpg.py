"""DDPG (arXiv:1509.02971, algorithm 1) on a fixed dataset, as arXiv:1812.02900, section 3, uses it to fail.

The published code of arXiv:1812.02900 (sfujim/BCQ) has it in two versions. In the first upload (DDPG.py, commit
115f77d, 2018) the action enters the critic's second layer (`action_layer=2`), the actor's rate is 1e-4, and the critic
has the rate 1e-3 and weight decay 1e-2. In today's (continuous_BCQ/DDPG.py, commit c43a5b1, 2020) the action enters
the first layer, and both networks have the rate 1e-3 and no weight decay.

Shape suffix: B batch.
"""

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn, no_grad

from bcq_exp.algorithms import diagnostics
from bcq_exp.algorithms.bc import deterministic_act
from bcq_exp.algorithms.definition import Definition
from bcq_exp.algorithms.form import Algorithm, Nets, Stage, Target, Tensors
from bcq_exp.algorithms.schema import ContinuousConfig
from bcq_exp.fields import within
from bcq_exp.networks import Actor, Critic, LateActionCritic, MLPNetworkConfig, NetworkConfig, Sizes
from bcq_exp.ops.td import n_step_target

SWEPT = frozenset({"gamma", "tau"})


@dataclass(kw_only=True)
class DDPGConfig(ContinuousConfig):
    """Keys of `conf/algorithm/ddpg.yaml`."""

    gamma: float = within(0, 1)
    tau: float = within(0, 1, is_low_open=True)
    action_layer: int = within(1, 2)

    def network_contradictions(self, network: NetworkConfig) -> list[str]:
        """A critic of one layer has no second one."""
        if self.action_layer == 1 or network.hidden_sizes:
            return []
        return ["hidden_sizes=[]: with algorithm.action_layer=2 the critic has a hidden layer at least; give [400,300]"]


def critic_loss(nets: Nets, targets: Nets, batch: Tensors, noise: Tensors, hp: Tensors) -> tuple[Tensor, Tensors]:
    """(y - Q(s, a))^2 with y = r + gamma (1 - terminated) Q'(s', pi'(s'))    (eq. 4 and 5)."""
    with no_grad():
        value_B = targets["critic"](batch["obs_next"], targets["actor"](batch["obs_next"]))
        y_B = n_step_target(batch["rew"], batch["num_steps"], batch["terminated"], value_B, hp["gamma"])
    loss = F.mse_loss(nets["critic"](batch["obs"], batch["act"]), y_B)
    return loss, {"critic_loss": loss}


def actor_loss(nets: Nets, targets: Nets, batch: Tensors, noise: Tensors, hp: Tensors) -> tuple[Tensor, Tensors]:
    """-Q(s, pi(s))    (eq. 6, the deterministic policy gradient)."""
    loss = -nets["critic"](batch["obs"], nets["actor"](batch["obs"])).mean()
    return loss, {"actor_loss": loss}


def from_config(cfg: DDPGConfig, sizes: Sizes) -> Algorithm:
    """DDPG as stages: critic, actor on the critic that has just learned, soft targets of both."""
    return Algorithm(
        stages=(Stage(critic_loss, trains=("critic",)), Stage(actor_loss, trains=("actor",))),
        targets={name: Target(name, rate="tau", every=1) for name in ("actor", "critic")},
        act=deterministic_act,
        diagnose=diagnostics.of_critics(deterministic_act, ("critic",)),
        swept=SWEPT,
    )


def networks(cfg: DDPGConfig, network: MLPNetworkConfig, sizes: Sizes) -> dict[str, nn.Module]:
    """A deterministic actor and one critic."""
    critic = Critic if cfg.action_layer == 1 else LateActionCritic
    return {
        "actor": Actor(sizes.obs_dim, sizes.act_dim, max_action=sizes.max_action, **network.hidden),
        "critic": critic(sizes.obs_dim, sizes.act_dim, **network.hidden),
    }


DEFINITION = Definition(DDPGConfig, from_config, networks, SWEPT, ("critic", "actor"))
