"""SAC-N (arXiv:2110.01548, section 3): SAC on fixed data, whose critics are many and whose values are their smallest.

As in the published code (snu-mllab/EDAC, lifelong_rl/trainers/q_learning/sac.py, commit 198d570): each critic learns
from all rows and from the same target, which has the entropy; the sum of their losses is taken, so that none learns
more slowly in a large ensemble; and the policy climbs the smallest value of all.

Departures: the policy's step sees the critics after theirs, where the published code takes both from the weights before
an update. Its options `max_q_backup` (used on pen-cloned) and `deterministic_backup` are not offered.

Shape suffixes: N critics, B batch, A action.
"""

from dataclasses import dataclass

from torch import Tensor, nn, no_grad

from bcq_exp.algorithms import diagnostics, sac
from bcq_exp.algorithms.bc import LOG_STD_RANGE
from bcq_exp.algorithms.definition import Definition
from bcq_exp.algorithms.form import Algorithm, Draw, Loss, Nets, Stage, Target, Tensors
from bcq_exp.algorithms.schema import ContinuousConfig
from bcq_exp.fields import within
from bcq_exp.networks import DualVariable, EnsembleCritic, MLPNetworkConfig, Sizes
from bcq_exp.ops.gaussian import squashed_sample
from bcq_exp.ops.td import n_step_target

SLOPE_EPS = 1e-6  # in the log density of actions: the same repository, TanhNormal

SWEPT = frozenset({"gamma", "tau"})


@dataclass(kw_only=True)
class SACNConfig(ContinuousConfig):
    """Keys of `conf/algorithm/sac_n.yaml`."""

    gamma: float = within(0, 1)
    tau: float = within(0, 1, is_low_open=True)
    num_critics: int = within(2)


def smallest_value(critics: Nets, obs: Tensor, act_BA: Tensor) -> Tensor:
    """min_j Q_j(s, a) over all critics, (B,)    (section 3)."""
    q_B: Tensor = critics["critics"](obs, act_BA).amin(0)
    return q_B


@no_grad()
def soft_target(nets: Nets, targets: Nets, batch: Tensors, noise: Tensors, hp: Tensors, max_action: float) -> Tensor:
    """r + gamma (1 - terminated) [min_j Q_j'(s', a') - alpha log pi(a'|s')] with a' ~ pi(s'), (B,)    (eq. 2)."""
    gaussian = nets["policy"](batch["obs_next"])
    act_BA, log_prob_B = squashed_sample(noise["next"], *gaussian, max_action=max_action, slope_eps=SLOPE_EPS)
    alpha = nets["temperature"]().exp()
    value_B = smallest_value(targets, batch["obs_next"], act_BA) - alpha * log_prob_B
    return n_step_target(batch["rew"], batch["num_steps"], batch["terminated"], value_B, hp["gamma"])


def regression(q_NB: Tensor, y_B: Tensor) -> tuple[Tensor, Tensors]:
    """sum_j mean (y - Q_j(s, a))^2, and the mean over critics as a metric."""
    error_N = (q_NB - y_B).square().mean(-1)
    return error_N.sum(), {"critic_loss": error_N.mean()}


def critic_loss(max_action: float) -> Loss:
    """The regression of all critics towards one target    (eq. 2)."""

    def loss(nets: Nets, targets: Nets, batch: Tensors, noise: Tensors, hp: Tensors) -> tuple[Tensor, Tensors]:
        y_B = soft_target(nets, targets, batch, noise, hp, max_action)
        return regression(nets["critics"](batch["obs"], batch["act"]), y_B)

    return loss


def build(loss: Loss, sizes: Sizes, swept: frozenset[str]) -> Algorithm:
    """The ensemble and SAC's policy as stages.

    Args:
        loss: of the critics; its noise is `next`, (B, A).
        sizes: of observations and actions.
        swept: see `Algorithm`.
    """
    act = sac.mean_act(sizes.max_action)
    return Algorithm(
        stages=(
            Stage(loss, trains=("critics",), noise={"next": Draw("normal", (sizes.act_dim,))}),
            sac.policy_stage(sizes, smallest_value, slope_eps=SLOPE_EPS),
        ),
        targets={"critics": Target("critics", rate="tau", every=1)},
        act=act,
        diagnose=diagnostics.of_critics(act, ("critics",)),
        swept=swept,
    )


def from_config(cfg: SACNConfig, sizes: Sizes) -> Algorithm:
    """The algorithm that a configuration describes."""
    return build(critic_loss(sizes.max_action), sizes, SWEPT)


def networks(cfg: SACNConfig, network: MLPNetworkConfig, sizes: Sizes) -> dict[str, nn.Module]:
    """A squashed Gaussian policy, its temperature, and the critics as one module."""
    policy = sac.squashed_policy(network, sizes, LOG_STD_RANGE)
    critics = EnsembleCritic(cfg.num_critics, sizes.obs_dim, sizes.act_dim, **network.hidden)
    return {"policy": policy, "temperature": DualVariable(), "critics": critics}


ROLES = ("critics", "policy", "temperature")

DEFINITION = Definition(SACNConfig, from_config, networks, SWEPT, ROLES)
