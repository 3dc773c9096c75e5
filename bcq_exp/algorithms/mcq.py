"""Mildly conservative Q-learning (arXiv:2206.04745, algorithm 1), on SAC and BCQ's generative model.

As in the published code (dmksjfl/MCQ, offlinerl/algo/modelfree/MCQ.py, as of commit cf497c6), the states are s and
s', online critics make the pseudo target, it is at least 0, and an action of the policy is pulled to it from above and
from below. With `excess=rectified` it is pulled down only, as there on maze2d-umaze and -medium, and without
`pseudo_target_min` besides as in commit 027972d. At a terminal s', which may hold anything, s stands in its place.

Departures: the generative model is BCQ's (`bcq.vae_loss`), where the divergence counts a quarter of what it counts in
the published code; critics are updated on the temperature of the update before. On five datasets (hopper and
halfcheetah, medium-expert and expert, and hopper-medium) the published code subtracts 5 from the pseudo target,
rectifies, and leaves actions alone that are near the generative model's; that form is not offered.

Shape suffixes: B batch, N sampled actions a state, L latent, A action.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn, no_grad

from bcq_exp.algorithms import bcq, diagnostics, sac
from bcq_exp.algorithms.definition import Definition
from bcq_exp.algorithms.form import Algorithm, Draw, Nets, Stage, Target, Tensors
from bcq_exp.algorithms.schema import ContinuousConfig
from bcq_exp.algorithms.td3 import CRITICS, smallest_value, twin_regression
from bcq_exp.fields import one_of, within
from bcq_exp.networks import MLPNetworkConfig, Sizes
from bcq_exp.ops.gaussian import squashed_sample
from bcq_exp.ops.td import n_step_target

LOG_STD_RANGE = (-5.0, 2.0)  # the published code: offlinerl/utils/net/tanhpolicy.py, TanhGaussianPolicy
SLOPE_EPS = 1e-6  # in the log density of actions: the same file, TanhNormal

SWEPT = frozenset({"gamma", "tau", "lmbda"})


@dataclass(kw_only=True)
class MCQConfig(ContinuousConfig):
    """Keys of `conf/algorithm/mcq.yaml`."""

    later_keys = {"excess": "rectified", "pseudo_target_min": None}  # noqa: RUF012

    gamma: float = within(0, 1)
    tau: float = within(0, 1, is_low_open=True)
    lmbda: float = within(0, 1)
    num_sampled_action: int = within(1)
    excess: str = one_of("square", "rectified")
    pseudo_target_min: float | None = within(-math.inf)


def sampled_values(nets: Nets, obs: Tensor, act_BNA: Tensor) -> Tensor:
    """Q_j(s, a_i) of both critics, (2, B, N)."""
    obs = obs.unsqueeze(1).expand(-1, act_BNA.shape[1], -1)  # (B, N, S)
    return torch.stack([nets[name](obs, act_BNA).view(act_BNA.shape[:-1]) for name in CRITICS])


def pseudo_target(nets: Nets, obs: Tensor, latent_BNL: Tensor, lowest: float | None) -> Tensor:
    """y(s) = max(min_j max_i Q_j(s, a_i), lowest) with a_i of the generative model, (B,)    (published code)."""
    act_BNA = nets["decoder"](obs.unsqueeze(1).expand(-1, latent_BNL.shape[1], -1), latent_BNL)
    y_B = sampled_values(nets, obs, act_BNA).amax(-1).amin(0)
    return y_B if lowest is None else y_B.clamp(min=lowest)


def excess_loss(q_BN: Tensor, y_B: Tensor, excess: str) -> Tensor:
    """mean (Q(s, a_i) - y(s))^2 (`square`), or mean max(Q(s, a_i) - y(s), 0)^2 (`rectified`), 0-d."""
    excess_BN = q_BN - y_B.unsqueeze(-1)
    return (excess_BN.relu() if excess == "rectified" else excess_BN).square().mean()


def from_config(cfg: MCQConfig, sizes: Sizes) -> Algorithm:
    """MCQ as stages: generative model, critics, SAC's policy, as in the published code."""
    max_action, excess_form, lowest = sizes.max_action, cfg.excess, cfg.pseudo_target_min

    def critic_loss(nets: Nets, targets: Nets, batch: Tensors, noise: Tensors, hp: Tensors) -> tuple[Tensor, Tensors]:
        """lambda sum_j (y - Q_j(s, a))^2 + (1 - lambda) sum_j excess_j over s and s'    (algorithm 1)."""
        with no_grad():
            gaussian = nets["policy"](batch["obs_next"])
            act_next_BA, log_prob_B = squashed_sample(
                noise["next"], *gaussian, max_action=max_action, slope_eps=SLOPE_EPS
            )
            q_B, alpha = smallest_value(targets, batch["obs_next"], act_next_BA), nets["temperature"]().exp()
            value_B = q_B - alpha * log_prob_B
            y_B = n_step_target(batch["rew"], batch["num_steps"], batch["terminated"], value_B, hp["gamma"])
        loss, metrics = twin_regression(nets, batch, y_B)
        excess = torch.zeros_like(loss)
        for obs, place in ((batch["obs"], "here"), (sac.live_next_state(batch), "there")):
            with no_grad():
                act_BNA, _ = sac.sampled_actions(nets, obs, noise[f"policy_{place}"], max_action)
                pseudo_B = pseudo_target(nets, obs, noise[f"latent_{place}"], lowest)
            q1_BN, q2_BN = sampled_values(nets, obs, act_BNA)
            both = excess_loss(q1_BN, pseudo_B, excess_form) + excess_loss(q2_BN, pseudo_B, excess_form)
            excess = excess + both / 2  # of two states
        return hp["lmbda"] * loss + (1 - hp["lmbda"]) * excess, {**metrics, "excess_loss": excess}

    act = sac.mean_act(max_action)
    values = diagnostics.of_critics(act, CRITICS)

    def diagnose(nets: Nets, batch: Tensors, noise: Tensors, hp: Tensors) -> dict[str, Tensor]:
        """The twins' values and the generative model."""
        return {**values(nets, batch, noise, hp), **bcq.diagnose_vae(nets, batch, noise, hp)}

    latent_dim, shape = bcq.latent_dim(sizes), (cfg.num_sampled_action, sizes.act_dim)
    latent = Draw("normal", (cfg.num_sampled_action, latent_dim), bcq.LATENT_CLIP)
    noise = {"next": Draw("normal", (sizes.act_dim,))}
    for place in ("here", "there"):
        noise |= {f"policy_{place}": Draw("normal", shape), f"latent_{place}": latent}
    return Algorithm(
        stages=(
            bcq.vae_stage(latent_dim),
            Stage(critic_loss, trains=CRITICS, noise=noise),
            sac.policy_stage(sizes, slope_eps=SLOPE_EPS),
        ),
        targets={name: Target(name, rate="tau", every=1) for name in CRITICS},
        act=act,
        diagnose=diagnose,
        diagnose_noise=bcq.posterior_noise(latent_dim),
        swept=SWEPT,
        scalar=CRITICS,
    )


def networks(cfg: MCQConfig, network: MLPNetworkConfig, sizes: Sizes) -> dict[str, nn.Module]:
    """SAC's networks and the two halves of BCQ's generative model."""
    return {**sac.networks(network, sizes, LOG_STD_RANGE), **bcq.generative_model(network, sizes)}


DEFINITION = Definition(MCQConfig, from_config, networks, SWEPT, ("vae", "critics", "policy", "temperature"))
