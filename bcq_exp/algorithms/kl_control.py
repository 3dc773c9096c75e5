"""KL-control (arXiv:1907.00456), a baseline of arXiv:1910.01708: Q-learning that is paid for acting as the imitator
would.

The objective is sum r / c - KL(pi || G): an action that the imitator finds unlikely costs its log probability. Up to
scale this is r - c KL. The paper states c = 2, and its code (natashamjaques/neural_chat, run_rl.py: kl_weight_c) gives
the divergence the weight 1/2, which is c = 1/2, four times the reward's share: `kl_weight` is the code's.

Departures: the code leaves rewards as they are, so that the values whose softmax and log-sum-exp it takes are c times
these, and it subtracts log pi with `backup=psi` too. The imitator is learned beside the values, as in discrete BCQ,
where the paper has a language model from before; and the target is that of one network, where the paper takes the
smallest of several dropout masks. Its target copies are soft; here they are whole by default, as in the rest of that
frame.

Shape suffixes: B batch, A number of actions, K steps of the reward window.
"""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor, nn, no_grad

from bcq_exp.algorithms import diagnostics, dqn
from bcq_exp.algorithms.definition import Definition
from bcq_exp.algorithms.form import Algorithm, Nets, Stage, Tensors, read_numbers, slow_copy
from bcq_exp.algorithms.schema import SlowCopyConfig
from bcq_exp.fields import one_of, within
from bcq_exp.networks import NetworkConfig, Sizes
from bcq_exp.ops.discrete import among_available, take_action
from bcq_exp.ops.td import n_step_target

SWEPT = dqn.SWEPT | {"kl_weight"}


@dataclass(kw_only=True)
class KLControlConfig(SlowCopyConfig):
    """Keys of `conf/algorithm/kl_control.yaml`."""

    gamma: float = within(0, 1)
    kl_weight: float = within(0, is_low_open=True)
    backup: str = one_of("psi", "q")
    clip_loss_grad: bool


def log_probability(net: Callable[..., Tensor], batch: Tensors) -> Tensor:
    """The logarithm, (B,), of the dataset's action in the softmax of a network's outputs for the available actions."""
    logits_BA = among_available(net(batch["obs"]), batch.get("mask"))
    return take_action(logits_BA.log_softmax(-1), batch["act"])


def kl_target(nets: Nets, targets: Nets, batch: Tensors, hp: Tensors, *, backup: str) -> Tensor:
    """The one-step target (B,) of both forms that the paper has.

    psi  r / c + log G(a|s) + gamma log sum_a' exp Psi'(s', a')             (its Psi function)
    q    r / c + log G(a|s) - log pi(a|s) + gamma max_a' Q'(s', a')         (its Q function with KL-control)

    where G and pi, the softmax of Q(s, .), are distributions over the available actions of s, and a' is one of s'.
    """
    log_ratio_B = log_probability(nets["imitator"], batch)
    if backup == "q":
        log_ratio_B = log_ratio_B - log_probability(nets["model"], batch)
    next_BA = among_available(targets["model"](batch["obs_next"]), batch.get("mask_next"))
    value_B = next_BA.logsumexp(-1) if backup == "psi" else next_BA.amax(-1)
    rew_BK = batch["rew"] / hp["kl_weight"]
    return log_ratio_B + n_step_target(rew_BK, batch["num_steps"], batch["terminated"], value_B, hp["gamma"])


def diagnose(nets: Nets, batch: Tensors, noise: Tensors, hp: Tensors) -> dict[str, Tensor]:
    """Values c Q(s, a), which are of rewards less what the divergence costs, and the imitator."""
    out = dqn.greedy_act(nets, batch, noise, hp)
    values = diagnostics.of_discrete_values(hp["kl_weight"] * out["q_value"].unsqueeze(0), out["act"], batch)
    return values | diagnostics.of_imitator(nets["imitator"](batch["obs"]), batch)


def build(*, backup: str, clip_loss_grad: bool, target_update_freq: int | None) -> Algorithm:
    """KL-control as stages: one step on L_TD + CE(G(s), a). The action of the largest value is taken."""

    def loss(nets: Nets, targets: Nets, batch: Tensors, noise: Tensors, hp: Tensors) -> tuple[Tensor, Tensors]:
        with no_grad():
            y_B = kl_target(nets, targets, batch, hp, backup=backup)
        return dqn.td_and_imitation_loss(nets, batch, y_B, clip_loss_grad=clip_loss_grad)

    return Algorithm(
        stages=(Stage(loss, trains=("model", "imitator")),),
        targets={"model": slow_copy("model", target_update_freq)},
        act=dqn.greedy_act,
        diagnose=diagnose,
        swept=read_numbers(SWEPT, target_update_freq),
        recurrent=("model", "imitator"),
    )


def from_config(cfg: KLControlConfig, sizes: Sizes) -> Algorithm:
    """The algorithm that a configuration describes."""
    return build(backup=cfg.backup, clip_loss_grad=cfg.clip_loss_grad, target_update_freq=cfg.target_update_freq)


def networks(cfg: KLControlConfig, network: NetworkConfig, sizes: Sizes) -> dict[str, nn.Module]:
    """The Q network and the imitator, each with raw linear outputs (A,); on images they share the convolutions."""
    return network.per_action(["model", "imitator"], sizes)


DEFINITION = Definition(KLControlConfig, from_config, networks, SWEPT)
