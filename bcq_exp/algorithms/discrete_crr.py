"""Critic regularized regression (arXiv:2006.15134, section 3) for discrete actions.

With finitely many actions the expectations over the policy, which the paper samples, are sums. Departures: the critic
is one number an action, not a distribution, as in DeepMind's later implementation (Acme's jax agent); the most probable
action is taken, where the paper draws actions and weighs them by the critic.

Shape suffixes: B batch, A number of actions.
"""

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn, no_grad

from bcq_exp.algorithms import diagnostics
from bcq_exp.algorithms.crr import advantage_weights
from bcq_exp.algorithms.definition import Definition
from bcq_exp.algorithms.form import Algorithm, Nets, Stage, Tensors, read_numbers, slow_copy
from bcq_exp.algorithms.schema import SlowCopyConfig
from bcq_exp.fields import one_of, within
from bcq_exp.networks import NetworkConfig, Sizes
from bcq_exp.ops.discrete import action_probabilities, among_available, expected_value, masked_argmax, take_action
from bcq_exp.ops.td import n_step_target

SWEPT = frozenset({"gamma", "tau", "eval_eps", "beta", "max_weight"})


@dataclass(kw_only=True)
class DiscreteCRRConfig(SlowCopyConfig):
    """Keys of `conf/algorithm/discrete_crr.yaml`; `beta` and `max_weight` belong to `weight=exp`."""

    gamma: float = within(0, 1)
    weight: str = one_of("exp", "binary")
    beta: float = within(0, is_low_open=True)
    max_weight: float = within(0, is_low_open=True)


def greedy_act(nets: Nets, batch: Tensors, noise: Tensors, hp: Tensors) -> dict[str, Tensor]:
    """argmax_a pi(a|s) among the available actions."""
    logits_BA = nets["policy"](batch["obs"])
    return {"act": masked_argmax(logits_BA, batch.get("mask")), "logits": logits_BA}


def diagnose(nets: Nets, batch: Tensors, noise: Tensors, hp: Tensors) -> dict[str, Tensor]:
    """The critic's values, and the policy's agreement with the data."""
    act_B = greedy_act(nets, batch, noise, hp)["act"]
    return diagnostics.of_discrete_values(nets["model"](batch["obs"]).unsqueeze(0), act_B, batch)


def build(*, weight: str, target_update_freq: int | None) -> Algorithm:
    """Discrete CRR as stages: one step on the sum of two losses, which share no network but convolutions,

    (r + gamma sum_a pi'(a|s') Q'(s', a) - Q(s, a))^2    (policy evaluation)
    -f(Q(s, a) - sum_b pi(b|s) Q(s, b)) log pi(a|s)      (policy learning)

    where f is 1 above 0 and 0 elsewhere (`binary`, eq. 3), or min(exp(./beta), max_weight) (`exp`, eq. 4). pi is a
    distribution over the available actions.
    """

    def loss(nets: Nets, targets: Nets, batch: Tensors, noise: Tensors, hp: Tensors) -> tuple[Tensor, Tensors]:
        q_BA, logits_BA = nets["model"](batch["obs"]), nets["policy"](batch["obs"])
        q_B = take_action(q_BA, batch["act"])
        with no_grad():
            logits_next_BA, q_next_BA = targets["policy"](batch["obs_next"]), targets["model"](batch["obs_next"])
            value_B = expected_value(action_probabilities(logits_next_BA, batch.get("mask_next")), q_next_BA)
            y_B = n_step_target(batch["rew"], batch["num_steps"], batch["terminated"], value_B, hp["gamma"])
            advantage_B = q_B - expected_value(action_probabilities(logits_BA, batch.get("mask")), q_BA)
            weight_B = advantage_weights(advantage_B, hp, is_exponential=weight == "exp")
        q_loss = F.mse_loss(q_B, y_B)
        surprise_B = F.cross_entropy(among_available(logits_BA, batch.get("mask")), batch["act"], reduction="none")
        actor_loss = (weight_B * surprise_B).mean()
        total = q_loss + actor_loss
        return total, {"loss": total, "q_loss": q_loss, "actor_loss": actor_loss}

    return Algorithm(
        stages=(Stage(loss, trains=("model", "policy")),),
        targets={name: slow_copy(name, target_update_freq) for name in ("model", "policy")},
        act=greedy_act,
        diagnose=diagnose,
        swept=read_numbers(SWEPT, target_update_freq),
    )


def from_config(cfg: DiscreteCRRConfig, sizes: Sizes) -> Algorithm:
    """The algorithm that a configuration describes."""
    return build(weight=cfg.weight, target_update_freq=cfg.target_update_freq)


def networks(cfg: DiscreteCRRConfig, network: NetworkConfig, sizes: Sizes) -> dict[str, nn.Module]:
    """The critic and the policy, each with raw linear outputs (A,); on images they share the convolutions."""
    return network.per_action(["model", "policy"], sizes)


DEFINITION = Definition(DiscreteCRRConfig, from_config, networks, SWEPT)
