"""DQN (doi:10.1038/nature14236) and double DQN (arXiv:1509.06461) on a fixed dataset.

Initial weights are torch's own. The published code for Atari (google-research/batch_rl, multi_head/atari_helpers.py)
draws those of DQN by Glorot's rule, which is not offered, and those of `qrdqn`, `rem` and `discrete_cql` by variance
scaling (`network.init=variance_scaling`). Departure: its convolutions are padded, so that heads see 7,744 features of
an image of 84 x 84 pixels; here they are 3,136, as in the paper.

Shape suffixes: N values of an action (quantiles, heads), B batch, A number of actions.
"""

from dataclasses import dataclass
from typing import TypedDict, Unpack

import torch.nn.functional as F
from torch import Tensor, nn, no_grad

from bcq_exp.algorithms import diagnostics
from bcq_exp.algorithms.definition import Definition
from bcq_exp.algorithms.form import Act, Algorithm, Nets, Stage, Tensors, read_numbers, slow_copy
from bcq_exp.algorithms.schema import SlowCopyConfig
from bcq_exp.data import ReplayBuffer
from bcq_exp.fields import within
from bcq_exp.networks import NetworkConfig, Sizes
from bcq_exp.ops.discrete import among_available, masked_argmax, take_action
from bcq_exp.ops.td import n_step_target

SWEPT = frozenset({"gamma", "tau", "eval_eps"})


class Bootstrapping(TypedDict):
    """Keyword arguments of target construction, except `is_double`."""

    target_update_freq: int | None
    estimation_step: int
    reward_normalization: bool


class QLearning(Bootstrapping):
    """Keyword arguments of Q-learning."""

    is_double: bool
    clip_loss_grad: bool


@dataclass(kw_only=True)
class BootstrappingConfig(SlowCopyConfig):
    """Keys of every algorithm that bootstraps from a greedy action."""

    is_double: bool
    reward_normalization: bool
    gamma: float = within(0, 1)
    estimation_step: int = within(1)

    @property
    def bootstrapping(self) -> Bootstrapping:
        """The keys of target construction, except `is_double`."""
        return {
            "target_update_freq": self.target_update_freq,
            "estimation_step": self.estimation_step,
            "reward_normalization": self.reward_normalization,
        }


@dataclass(kw_only=True)
class QLearningConfig(BootstrappingConfig):
    """Keys of every algorithm that regresses Q(s, a) on such a target."""

    clip_loss_grad: bool

    @property
    def q_learning(self) -> QLearning:
        """The keys of Q-learning."""
        return {**self.bootstrapping, "is_double": self.is_double, "clip_loss_grad": self.clip_loss_grad}


@dataclass(kw_only=True)
class DQNConfig(QLearningConfig):
    """Keys of `conf/algorithm/dqn.yaml`."""


def q_learning_target(
    nets: Nets, targets: Nets, batch: Tensors, hp: Tensors, mask_BA: Tensor | None, *, is_double: bool
) -> Tensor:
    """The n-step target in the units of the Q network: (B,), or (N, B) for networks with N values of each action.

    y = sum_k gamma^k r_k + gamma^m (1 - terminated) Q'(s_m, argmax_a Q(s_m, a))    (arXiv:1509.06461, eq. 4)

    Args:
        nets, targets, batch, hp: of a loss; `return_mean` and `return_std` in `hp` normalise.
        mask_BA: actions of s_m among which the argmax is taken, bool; None: all.
        is_double: the online network chooses the action; otherwise the target network does.
    """
    q_BA = targets["model"](batch["obs_next"])
    ranked_BA = nets["model"](batch["obs_next"]) if is_double else q_BA
    act_B = masked_argmax(mean_value(ranked_BA), mask_BA)
    return bootstrapped(take_action(q_BA, act_B), batch, hp)


def with_values(nets: Nets, num_values: int) -> Nets:
    """The same networks, with the outputs (B, N A) of `model` as N values of each action, (N, B, A)."""
    return {**nets, "model": lambda obs: nets["model"](obs).unflatten(-1, (num_values, -1)).movedim(-2, 0)}


def mean_value(q_BA: Tensor) -> Tensor:
    """Q(s, .), (B, A): unchanged, or the mean of N values of each action, (N, B, A)."""
    return q_BA if q_BA.dim() == 2 else q_BA.mean(0)


def bootstrapped(value_B: Tensor, batch: Tensors, hp: Tensors) -> Tensor:
    """The n-step target (*, B) for given values of s_m, (*, B), both in the units of the Q network."""
    value_next_B = denormalize(value_B, hp)
    y_B = n_step_target(batch["rew"], batch["num_steps"], batch["terminated"], value_next_B, hp["gamma"])
    return normalize(y_B, hp)


def td_loss(q_BA: Tensor, act_B: Tensor, y_B: Tensor, *, clip_loss_grad: bool) -> Tensor:
    """Mean over the batch of the Huber loss (|gradient| <= 1) or the square of Q(s, a) - y."""
    loss = F.huber_loss if clip_loss_grad else F.mse_loss
    return loss(take_action(q_BA, act_B), y_B)


def td_and_imitation_loss(nets: Nets, batch: Tensors, y_B: Tensor, *, clip_loss_grad: bool) -> tuple[Tensor, Tensors]:
    """L_TD + CE(G(s), a): of a Q network, and of an imitator of the behaviour among the available actions."""
    q_loss = td_loss(nets["model"](batch["obs"]), batch["act"], y_B, clip_loss_grad=clip_loss_grad)
    i_loss = F.cross_entropy(among_available(nets["imitator"](batch["obs"]), batch.get("mask")), batch["act"])
    total = q_loss + i_loss
    return total, {"loss": total, "q_loss": q_loss, "i_loss": i_loss}


def normalize(value: Tensor, hp: Tensors) -> Tensor:
    """Convert reward units to the units of the Q network."""
    return (value - hp["return_mean"]) / hp["return_std"] if "return_mean" in hp else value


def denormalize(value: Tensor, hp: Tensors) -> Tensor:
    """Convert units of the Q network to reward units."""
    return hp["return_mean"] + hp["return_std"] * value if "return_mean" in hp else value


def return_statistics(buffer: ReplayBuffer, hp: Tensors) -> dict[str, Tensor]:
    """`return_mean` and `return_std`, 0-d: mean and deviation of the dataset's discounted returns over all rows.

    Raises:
        ValueError: all returns are equal, so the deviation is 0.
    """
    returns_N = buffer.discounted_returns(float(hp["gamma"]))
    std, mean = returns_N.std(correction=0), returns_N.mean()
    if returns_N.min() == returns_N.max():  # rounding can leave a deviation that is not quite zero
        raise ValueError(f"reward_normalization: all discounted returns equal {float(mean):g}; set it to false")
    return {"return_mean": mean, "return_std": std}


def q_learning_algorithm(
    stage: Stage, act: Act, swept: frozenset[str], **bootstrapping: Unpack[Bootstrapping]
) -> Algorithm:
    """An algorithm of one stage, against a slow copy of `model`, on n-step windows, in raw or normalised units."""
    is_normalized = bootstrapping["reward_normalization"]
    return Algorithm(
        stages=(stage,),
        targets={"model": slow_copy("model", bootstrapping["target_update_freq"])},
        act=act,
        diagnose=diagnostics.of_q_learning(act),
        swept=read_numbers(swept, bootstrapping["target_update_freq"]),
        recurrent=stage.trains,
        num_steps=bootstrapping["estimation_step"],
        prepare=return_statistics if is_normalized else None,
        statistics=("return_mean", "return_std") if is_normalized else (),
    )


def greedy(q_BA: Tensor, batch: Tensors, hp: Tensors) -> dict[str, Tensor]:
    """argmax_a Q(s, a) among the available actions, with the values in both units."""
    return {"act": masked_argmax(q_BA, batch.get("mask")), "logits": q_BA, "q_value": denormalize(q_BA, hp)}


def greedy_act(nets: Nets, batch: Tensors, noise: Tensors, hp: Tensors) -> dict[str, Tensor]:
    """argmax_a Q(s, a) of a network with one output an action."""
    return greedy(nets["model"](batch["obs"]), batch, hp)


def build(*, is_double: bool, clip_loss_grad: bool, **bootstrapping: Unpack[Bootstrapping]) -> Algorithm:
    """DQN as stages."""

    def loss(nets: Nets, targets: Nets, batch: Tensors, noise: Tensors, hp: Tensors) -> tuple[Tensor, Tensors]:
        with no_grad():
            y_B = q_learning_target(nets, targets, batch, hp, batch.get("mask_next"), is_double=is_double)
        q_loss = td_loss(nets["model"](batch["obs"]), batch["act"], y_B, clip_loss_grad=clip_loss_grad)
        return q_loss, {"loss": q_loss}

    return q_learning_algorithm(Stage(loss, trains=("model",)), greedy_act, SWEPT, **bootstrapping)


def from_config(cfg: DQNConfig, sizes: Sizes) -> Algorithm:
    """The algorithm that a configuration describes."""
    return build(**cfg.q_learning)


def networks(cfg: DQNConfig, network: NetworkConfig, sizes: Sizes) -> dict[str, nn.Module]:
    """The Q network, with raw linear outputs (A,)."""
    return network.per_action(["model"], sizes)


DEFINITION = Definition(DQNConfig, from_config, networks, SWEPT)
