"""ReBRAC (arXiv:2305.09836, section 3): TD3 whose actor and critics are both kept near the dataset's actions, each
with a weight of its own, on critics with layer normalisation.

The critics' penalty compares the policy's next action with the one that was taken next in the dataset. As in the
published code, a row behind which an episode was cut, so that no next action is known, does not train the critics; a
terminal row does. In the actor's loss Q is the smaller of both critics and is divided by the mean of |Q|, and squared
distances are sums over the action's dimensions, as the published code has them.

Departures: initial weights are torch's own, where the published last layers are small (`network.last_layer_scale=3e-3
network.policy_last_layer_scale=1e-3`) and other biases 0.1; targets follow the networks that this update has left.

Shape suffixes: B batch, A action.
"""

from dataclasses import dataclass

from torch import Tensor, nn, no_grad

from bcq_exp.algorithms import td3
from bcq_exp.algorithms.definition import Definition
from bcq_exp.algorithms.form import Algorithm, Loss, Nets, Tensors
from bcq_exp.fields import within
from bcq_exp.networks import Actor, MLPNetworkConfig, Sizes
from bcq_exp.ops.td import mean_of_known, n_step_target

SWEPT = td3.SWEPT | {"actor_penalty", "critic_penalty"}


@dataclass(kw_only=True)
class ReBRACConfig(td3.TD3Config):
    """Keys of `conf/algorithm/rebrac.yaml`."""

    actor_penalty: float = within(0)
    critic_penalty: float = within(0)


def squared_distance(act_BA: Tensor, other_BA: Tensor) -> Tensor:
    """||a - b||^2 of each row, (B,)."""
    return (act_BA - other_BA).square().sum(-1)


def critic_loss(max_action: float) -> Loss:
    """(y - Q_j(s, a))^2 of both critics with y = r + gamma (1 - terminated) [min_j Q_j'(s', a') - beta2 ||a' - b'||^2].

    a' is TD3's smoothed action, b' the action that the dataset has at s'    (section 3, eq. 4).
    """

    def loss(nets: Nets, targets: Nets, batch: Tensors, noise: Tensors, hp: Tensors) -> tuple[Tensor, Tensors]:
        with no_grad():
            act_BA = td3.smoothed_action(targets, batch, noise, hp, max_action)
            value_B = td3.smallest_value(targets, batch["obs_next"], act_BA)
            value_B = value_B - hp["critic_penalty"] * squared_distance(act_BA, batch["act_next"])
            y_B = n_step_target(batch["rew"], batch["num_steps"], batch["terminated"], value_B, hp["gamma"])
        losses = {}
        for name in td3.CRITICS:
            error_B = (nets[name](batch["obs"], batch["act"]) - y_B).square()
            losses[f"{name}_loss"] = mean_of_known(error_B, batch["terminated"] | batch["has_act_next"])
        return losses["critic1_loss"] + losses["critic2_loss"], losses

    return loss


def actor_loss(nets: Nets, targets: Nets, batch: Tensors, noise: Tensors, hp: Tensors) -> tuple[Tensor, Tensors]:
    """beta1 ||pi(s) - a||^2 - Q / mean |Q| with Q = min_j Q_j(s, pi(s))    (section 3, eq. 3)."""
    act_BA = nets["actor"](batch["obs"])
    q_B = td3.smallest_value(nets, batch["obs"], act_BA)
    bc_loss = squared_distance(act_BA, batch["act"]).mean()
    loss = hp["actor_penalty"] * bc_loss - q_B.mean() / q_B.detach().abs().mean()
    return loss, {"actor_loss": loss, "bc_loss": bc_loss}


def from_config(cfg: ReBRACConfig, sizes: Sizes) -> Algorithm:
    """ReBRAC as stages: TD3's with both losses exchanged."""
    return td3.build(
        critic_loss=critic_loss(sizes.max_action),
        actor_loss=actor_loss,
        act_dim=sizes.act_dim,
        policy_freq=cfg.policy_freq,
        swept=SWEPT,
        fields=("act_next",),
    )


def networks(cfg: ReBRACConfig, network: MLPNetworkConfig, sizes: Sizes) -> dict[str, nn.Module]:
    """A deterministic actor, and twin critics with layer normalisation."""
    return {
        "actor": Actor(sizes.obs_dim, sizes.act_dim, max_action=sizes.max_action, **network.hidden),
        **td3.twin_critics(network, sizes, has_layer_norm=True),
    }


DEFINITION = Definition(ReBRACConfig, from_config, networks, SWEPT, ("critics", "actor"))
