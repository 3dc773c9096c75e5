"""TD3+BC (arXiv:2106.06860, section 5): TD3 whose actor also clones the dataset's actions.

The paper normalises observations by the dataset's statistics (eps 1e-3): here any algorithm may, with
`dataset.normalize_obs=true`, and none does by default. Departure: the paper writes lambda with |Q| at the dataset's
actions; as in the published code it is taken at the policy's.

Shape suffixes: B batch, A action.
"""

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor

from bcq_exp.algorithms import td3
from bcq_exp.algorithms.definition import Definition
from bcq_exp.algorithms.form import Algorithm, Nets, Tensors
from bcq_exp.fields import within
from bcq_exp.networks import Sizes

SWEPT = td3.SWEPT | {"alpha"}


@dataclass(kw_only=True)
class TD3BCConfig(td3.TD3Config):
    """Keys of `conf/algorithm/td3_bc.yaml`."""

    alpha: float = within(0)


def actor_loss(nets: Nets, targets: Nets, batch: Tensors, noise: Tensors, hp: Tensors) -> tuple[Tensor, Tensors]:
    """-lambda Q1(s, pi(s)) + (pi(s) - a)^2 with lambda = alpha / mean |Q1(s, pi(s))|    (eq. 3 and 5)."""
    act_BA = nets["actor"](batch["obs"])
    q_B = nets["critic1"](batch["obs"], act_BA)
    bc_loss = F.mse_loss(act_BA, batch["act"])
    loss = -hp["alpha"] / q_B.detach().abs().mean() * q_B.mean() + bc_loss
    return loss, {"actor_loss": loss, "bc_loss": bc_loss}


def from_config(cfg: TD3BCConfig, sizes: Sizes) -> Algorithm:
    """TD3+BC as stages: TD3's with the actor's loss exchanged."""
    return td3.build(
        critic_loss=td3.critic_loss(sizes.max_action),
        actor_loss=actor_loss,
        act_dim=sizes.act_dim,
        policy_freq=cfg.policy_freq,
        swept=SWEPT,
    )


DEFINITION = Definition(TD3BCConfig, from_config, td3.networks, SWEPT, ("critics", "actor"))
