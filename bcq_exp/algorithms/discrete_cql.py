"""Conservative Q-learning, CQL(H), for discrete actions (arXiv:2006.04779, section 3.2, eq. 4).

Shape suffixes: B batch, A number of actions.
"""

from dataclasses import dataclass
from typing import Unpack

from torch import Tensor, nn, no_grad

from bcq_exp.algorithms import dqn, qrdqn
from bcq_exp.algorithms.definition import Definition
from bcq_exp.algorithms.form import Algorithm, Nets, Stage, Tensors
from bcq_exp.fields import within
from bcq_exp.networks import NetworkConfig, Sizes
from bcq_exp.ops.discrete import among_available, take_action

SWEPT = dqn.SWEPT | {"alpha"}


@dataclass(kw_only=True)
class DiscreteCQLConfig(qrdqn.QuantileCriticConfig):
    """Keys of `conf/algorithm/discrete_cql.yaml`."""

    alpha: float = within(0)


def conservative_penalty(q_BA: Tensor, act_B: Tensor, available_BA: Tensor | None) -> Tensor:
    """mean (log sum_a exp Q(s, a) - Q(s, a_data)), 0-d    (eq. 4).

    The sum is over the available actions. It is the logarithm of their number where Q is the same for all, and its
    gradient in Q(s, .) sums to zero.
    """
    return (among_available(q_BA, available_BA).logsumexp(-1) - take_action(q_BA, act_B)).mean()


def build(
    *, num_quantiles: int | None, is_double: bool, clip_loss_grad: bool, **bootstrapping: Unpack[dqn.Bootstrapping]
) -> Algorithm:
    """CQL(H) as stages: one step on L_TD + alpha penalty.

    With quantiles the penalty is on their mean, and L_TD is QR-DQN's, as in the published code for Atari. The paper
    weighs a squared TD error by 1/2; here, as in that code, L_TD is the critic's own loss.
    """

    def loss(nets: Nets, targets: Nets, batch: Tensors, noise: Tensors, hp: Tensors) -> tuple[Tensor, Tensors]:
        critic, slow = (qrdqn.critic_nets(group, num_quantiles) for group in (nets, targets))
        with no_grad():
            y_B = dqn.q_learning_target(critic, slow, batch, hp, batch.get("mask_next"), is_double=is_double)
        q_BA = critic["model"](batch["obs"])
        q_loss = qrdqn.critic_loss(q_BA, batch["act"], y_B, clip_loss_grad=clip_loss_grad)
        penalty = conservative_penalty(dqn.mean_value(q_BA), batch["act"], batch.get("mask"))
        total = q_loss + hp["alpha"] * penalty
        return total, {"loss": total, "q_loss": q_loss, "cql_penalty": penalty}

    return dqn.q_learning_algorithm(
        Stage(loss, trains=("model",)), qrdqn.greedy_act(num_quantiles), SWEPT, **bootstrapping
    )


def from_config(cfg: DiscreteCQLConfig, sizes: Sizes) -> Algorithm:
    """The algorithm that a configuration describes."""
    return build(num_quantiles=cfg.num_quantiles, **cfg.q_learning)


def networks(cfg: DiscreteCQLConfig, network: NetworkConfig, sizes: Sizes) -> dict[str, nn.Module]:
    """The critic, with raw linear outputs (A,), or (N A,) for N quantiles."""
    return network.heads({"model": qrdqn.critic_outputs(cfg.num_quantiles, sizes)}, sizes)


DEFINITION = Definition(DiscreteCQLConfig, from_config, networks, SWEPT)
