"""Conservative Q-learning, CQL(H), for continuous actions (arXiv:2006.04779, section 3 and appendix F), on SAC.

The integral over actions is the published code's: besides uniform actions and those of the policy at s, as in the
paper, also those of the policy at s'; and the sum over samples is not divided by their number, which shifts the gap
that `lagrange_threshold` bounds by a constant. The target has no entropy term (`deterministic_backup`, the published
default). At a terminal s', which may hold anything, the policy is asked at s. The policy's log deviation stays in
[-5, 2], and its density has 1e-6 under the logarithm of tanh's slope, as there. The published initial weights are
`network.init=fan_in network.last_layer_scale=3e-3 network.policy_last_layer_scale=1e-3`, and no default here.

Departures: the published actor clones for its first 40,000 updates, which its authors find to matter little, and
networks there have three hidden layers; and there policy and critics step from the policy of before, and the policy
sees the temperature after its step.

Shape suffixes: B batch, N sampled actions a state and source, M = 3 N, A action.
"""

import math
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn, no_grad

from bcq_exp.algorithms import diagnostics, sac
from bcq_exp.algorithms.definition import Definition
from bcq_exp.algorithms.form import Algorithm, Draw, Nets, Stage, Target, Tensors
from bcq_exp.algorithms.schema import ContinuousConfig
from bcq_exp.algorithms.td3 import CRITICS, smallest_value, twin_regression
from bcq_exp.fields import within
from bcq_exp.networks import DualVariable, MLPNetworkConfig, Sizes
from bcq_exp.ops.gaussian import squashed_sample
from bcq_exp.ops.td import n_step_target

LARGEST_MULTIPLIER = 1e6  # the published code: cql.py, alpha_prime
LOG_STD_RANGE = (-5.0, 2.0)  # the published code: d4rl/rlkit/torch/sac/policies.py
SLOPE_EPS = 1e-6  # in the log density of actions: d4rl/rlkit/torch/distributions.py, TanhNormal

SWEPT = frozenset({"gamma", "tau", "alpha"})


@dataclass(kw_only=True)
class CQLConfig(ContinuousConfig):
    """Keys of `conf/algorithm/cql.yaml`."""

    gamma: float = within(0, 1)
    tau: float = within(0, 1, is_low_open=True)
    alpha: float = within(0)
    lagrange_threshold: float | None = within(0)
    num_sampled_action: int = within(1)


def conservative_gap(q_BM: Tensor, log_density_BM: Tensor, q_B: Tensor) -> Tensor:
    """mean [log sum_i exp(Q(s, a_i)) / p(a_i|s) - Q(s, a)], 0-d    (eq. 4 by the samples of appendix F).

    Args:
        q_BM: values of sampled actions, (B, M).
        log_density_BM: log p of each under what it was drawn from.
        q_B: values of the dataset's actions, (B,).
    """
    return (torch.logsumexp(q_BM - log_density_BM, -1) - q_B).mean()


def proposals(nets: Nets, batch: Tensors, noise: Tensors, max_action: float) -> tuple[Tensor, Tensor]:
    """Actions (B, M, A), drawn uniformly, from pi(s) and from pi(s'), and their log densities (B, M)."""
    uniform_BNA = max_action * (2 * noise["uniform"] - 1)
    log_density_BN = torch.full_like(uniform_BNA[..., 0], -uniform_BNA.shape[-1] * math.log(2 * max_action))
    sampled = partial(sac.sampled_actions, max_action=max_action, slope_eps=SLOPE_EPS)
    here = sampled(nets, batch["obs"], noise["here"])
    there = sampled(nets, sac.live_next_state(batch), noise["there"])
    acts, log_densities = zip((uniform_BNA, log_density_BN), here, there, strict=True)
    return torch.cat(acts, 1), torch.cat(log_densities, 1)


def from_config(cfg: CQLConfig, sizes: Sizes) -> Algorithm:
    """CQL as stages: SAC's policy, then critics, and with a threshold their multiplier."""
    max_action, threshold = sizes.max_action, cfg.lagrange_threshold

    def critic_loss(nets: Nets, targets: Nets, batch: Tensors, noise: Tensors, hp: Tensors) -> tuple[Tensor, Tensors]:
        """sum_j (y - Q_j(s, a))^2 + alpha gap_j, or + multiplier (alpha gap_j - threshold)    (eq. 4)."""
        with no_grad():
            act_next_BA, _ = squashed_sample(noise["next"], *nets["policy"](batch["obs_next"]), max_action=max_action)
            value_B = smallest_value(targets, batch["obs_next"], act_next_BA)
            y_B = n_step_target(batch["rew"], batch["num_steps"], batch["terminated"], value_B, hp["gamma"])
            act_BMA, log_density_BM = proposals(nets, batch, noise, max_action)
        loss, metrics = twin_regression(nets, batch, y_B)
        obs = batch["obs"].unsqueeze(1).expand(-1, act_BMA.shape[1], -1)  # (B, M, S)
        gaps = []
        for critic in (nets[name] for name in CRITICS):
            q_BM = critic(obs, act_BMA).view_as(log_density_BM)
            gaps.append(conservative_gap(q_BM, log_density_BM, critic(batch["obs"], batch["act"])))
        penalty = hp["alpha"] * torch.stack(gaps)  # one a critic
        metrics = {**metrics, "penalty": penalty.mean()}
        if threshold is None:
            return loss + penalty.sum(), metrics
        multiplier, excess = nets["multiplier"]().exp().clamp(max=LARGEST_MULTIPLIER), penalty - threshold
        dual = -(multiplier * excess.detach()).mean()
        return loss + (multiplier.detach() * excess).sum() + dual, {**metrics, "multiplier": multiplier}

    num_samples, act_dim = cfg.num_sampled_action, sizes.act_dim
    noise = {
        "next": Draw("normal", (act_dim,)),
        "uniform": Draw("uniform", (num_samples, act_dim)),
        "here": Draw("normal", (num_samples, act_dim)),
        "there": Draw("normal", (num_samples, act_dim)),
    }
    act = sac.mean_act(max_action)
    trained = CRITICS if threshold is None else (*CRITICS, "multiplier")
    return Algorithm(
        stages=(sac.policy_stage(sizes, slope_eps=SLOPE_EPS), Stage(critic_loss, trains=trained, noise=noise)),
        targets={name: Target(name, rate="tau", every=1) for name in CRITICS},
        act=act,
        diagnose=diagnostics.of_critics(act, CRITICS),
        swept=SWEPT,
        scalar=CRITICS,
    )


def networks(cfg: CQLConfig, network: MLPNetworkConfig, sizes: Sizes) -> dict[str, nn.Module]:
    """SAC's networks, and with a threshold the multiplier of the penalty."""
    multiplier = {} if cfg.lagrange_threshold is None else {"multiplier": DualVariable()}
    return {**sac.networks(network, sizes, LOG_STD_RANGE), **multiplier}


DEFINITION = Definition(CQLConfig, from_config, networks, SWEPT, ("policy", "temperature", "critics", "multiplier"))
