"""QR-DQN (arXiv:1710.10044) on a fixed dataset: quantiles of the return of each action, fitted by quantile regression.

Other algorithms with quantiles use this critic, with kappa = 1.

Shape suffixes: N quantiles, B batch, A number of actions.
"""

from dataclasses import dataclass
from typing import Unpack

from torch import Tensor, nn, no_grad

from bcq_exp.algorithms import dqn
from bcq_exp.algorithms.definition import Definition
from bcq_exp.algorithms.form import Act, Algorithm, Nets, Stage, Tensors
from bcq_exp.fields import within
from bcq_exp.networks import NetworkConfig, Sizes
from bcq_exp.ops.discrete import take_action
from bcq_exp.ops.quantile import quantile_huber_loss

SWEPT = dqn.SWEPT | {"kappa"}


@dataclass(kw_only=True)
class QRDQNConfig(dqn.BootstrappingConfig):
    """Keys of `conf/algorithm/qrdqn.yaml`."""

    num_quantiles: int = within(1)
    kappa: float = within(0, is_low_open=True)


@dataclass(kw_only=True)
class QuantileCriticConfig(dqn.QLearningConfig):
    """Keys of every algorithm whose critic has one value an action, or quantiles."""

    num_quantiles: int | None = within(1)

    def contradictions(self) -> list[str]:
        """Quantiles contradict a squared loss."""
        found = super().contradictions()
        if self.num_quantiles is not None and not self.clip_loss_grad:
            found.append(
                f"num_quantiles={self.num_quantiles} with clip_loss_grad=false: quantiles are fitted by a Huber loss,"
                " not a square; set clip_loss_grad=true, or num_quantiles=null for one value an action"
            )
        return found


def critic_nets(nets: Nets, num_quantiles: int | None) -> Nets:
    """The same networks, with the outputs of `model` as quantiles (N, B, A); unchanged without quantiles."""
    return nets if num_quantiles is None else dqn.with_values(nets, num_quantiles)


def critic_loss(q_BA: Tensor, act_B: Tensor, y_B: Tensor, *, clip_loss_grad: bool) -> Tensor:
    """The TD loss: DQN's for one value an action, (B, A), quantile regression with kappa = 1 for N, (N, B, A)."""
    if q_BA.dim() == 2:
        return dqn.td_loss(q_BA, act_B, y_B, clip_loss_grad=clip_loss_grad)
    return quantile_huber_loss(take_action(q_BA, act_B), y_B, y_B.new_ones(()))


def greedy_act(num_quantiles: int | None) -> Act:
    """The rule of action argmax_a Q(s, a) among the available actions, Q being the value or the quantiles' mean."""

    def act(nets: Nets, batch: Tensors, noise: Tensors, hp: Tensors) -> dict[str, Tensor]:
        return dqn.greedy(dqn.mean_value(critic_nets(nets, num_quantiles)["model"](batch["obs"])), batch, hp)

    return act


def critic_outputs(num_quantiles: int | None, sizes: Sizes) -> int:
    """Number of outputs of the critic: A, or N A with quantiles."""
    return sizes.act_dim * (num_quantiles or 1)


def build(*, num_quantiles: int, is_double: bool, **bootstrapping: Unpack[dqn.Bootstrapping]) -> Algorithm:
    """QR-DQN as stages: one step on

    sum_i mean_j rho_i(y_j - theta_i(s, a)), y_j = r + gamma theta_j'(s', a*), a* = argmax_a mean_j theta_j'(s', a)

    (algorithm 1). With `is_double` the online network's means choose a*.
    """

    def loss(nets: Nets, targets: Nets, batch: Tensors, noise: Tensors, hp: Tensors) -> tuple[Tensor, Tensors]:
        theta, slow = (dqn.with_values(group, num_quantiles) for group in (nets, targets))
        with no_grad():
            y_NB = dqn.q_learning_target(theta, slow, batch, hp, batch.get("mask_next"), is_double=is_double)
        theta_NB = take_action(theta["model"](batch["obs"]), batch["act"])
        q_loss = quantile_huber_loss(theta_NB, y_NB, hp["kappa"])
        return q_loss, {"loss": q_loss}

    return dqn.q_learning_algorithm(Stage(loss, trains=("model",)), greedy_act(num_quantiles), SWEPT, **bootstrapping)


def from_config(cfg: QRDQNConfig, sizes: Sizes) -> Algorithm:
    """The algorithm that a configuration describes."""
    return build(num_quantiles=cfg.num_quantiles, is_double=cfg.is_double, **cfg.bootstrapping)


def networks(cfg: QRDQNConfig, network: NetworkConfig, sizes: Sizes) -> dict[str, nn.Module]:
    """The network of the quantiles, with N A raw linear outputs."""
    return network.heads({"model": critic_outputs(cfg.num_quantiles, sizes)}, sizes)


DEFINITION = Definition(QRDQNConfig, from_config, networks, SWEPT)
