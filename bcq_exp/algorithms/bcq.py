"""Continuous BCQ (arXiv:1812.02900, section 4.2 and algorithm 1).

Shape suffixes: B batch, N sampled actions a state, A action, L latent; in comments S observation.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch.nn.functional as F
from torch import Tensor, nn, no_grad

from bcq_exp.algorithms import diagnostics
from bcq_exp.algorithms.definition import Definition
from bcq_exp.algorithms.form import Algorithm, Diagnose, Draw, Nets, Stage, Target, Tensors
from bcq_exp.algorithms.schema import ContinuousConfig
from bcq_exp.algorithms.td3 import CRITICS, twin_critics, twin_regression
from bcq_exp.fields import within
from bcq_exp.networks import Decoder, Encoder, MLPNetworkConfig, Perturbation, Sizes
from bcq_exp.ops.discrete import take_candidate
from bcq_exp.ops.gaussian import kl_to_standard_normal
from bcq_exp.ops.td import n_step_target, soft_clipped_double_q

LATENT_CLIP = 0.5  # z ~ N(0, 1) clipped to [-0.5, 0.5]: the published code, VAE.decode
KL_WEIGHT = 0.5  # both terms are means over batch and dimensions: the published code
SATURATED = 0.95  # of the largest perturbation: tanh has less than a tenth of its slope from there on

SWEPT = frozenset({"gamma", "tau", "lmbda"})


@dataclass(kw_only=True)
class BCQConfig(ContinuousConfig):
    """Keys of `conf/algorithm/bcq.yaml`."""

    gamma: float = within(0, 1)
    tau: float = within(0, 1, is_low_open=True)
    lmbda: float = within(0, 1)
    phi: float = within(0, 1)
    num_sampled_action: int = within(1)
    forward_sampled_times: int = within(1)


def vae_loss(nets: Nets, targets: Nets, batch: Tensors, noise: Tensors, hp: Tensors) -> tuple[Tensor, Tensors]:
    """||a - D(s, z)||^2 + KL(E(s, a) || N(0, 1)) / 2 with z = mean + std noise    (algorithm 1)."""
    reconstruction, kl = vae_errors(nets, batch, noise["latent"])
    loss = reconstruction + KL_WEIGHT * kl
    return loss, {"vae_loss": loss}


def vae_errors(nets: Nets, batch: Tensors, eps_BL: Tensor) -> tuple[Tensor, Tensor]:
    """||a - D(s, z)||^2 and KL(E(s, a) || N(0, 1)), means over batch and dimensions, with z = mean + std eps."""
    mean_BL, std_BL = nets["encoder"](batch["obs"], batch["act"])
    recon_BA = nets["decoder"](batch["obs"], mean_BL + std_BL * eps_BL)
    kl = kl_to_standard_normal(mean_BL, std_BL).mean()
    return F.mse_loss(recon_BA, batch["act"]), kl


def vae_stage(latent_dim: int) -> Stage:
    """The stage that trains both halves of the generative model."""
    return Stage(vae_loss, trains=("encoder", "decoder"), noise={"latent": Draw("normal", (latent_dim,))})


def bcq_target(nets: Nets, targets: Nets, batch: Tensors, noise: Tensors, hp: Tensors) -> Tensor:
    """y = r + gamma (1 - terminated) max_i soft_clipped(Q1', Q2')(s', a_i), a_i = z_i + xi'(s', z_i)    (section 4.2).

    Each sampled action is perturbed by the *target* perturbation network before the target critics judge it.
    """
    num_samples = noise["latent"].shape[1]
    obs_next = batch["obs_next"].repeat_interleave(num_samples, 0)  # (B N, S)
    act_next = targets["actor"](obs_next, nets["decoder"](obs_next, noise["latent"].flatten(0, 1)))  # (B N, A)
    q1, q2 = targets["critic1"](obs_next, act_next), targets["critic2"](obs_next, act_next)  # (B N)
    q_BN = soft_clipped_double_q(q1, q2, hp["lmbda"]).view(-1, num_samples)
    return n_step_target(batch["rew"], batch["num_steps"], batch["terminated"], q_BN.amax(-1), hp["gamma"])


def critic_loss(nets: Nets, targets: Nets, batch: Tensors, noise: Tensors, hp: Tensors) -> tuple[Tensor, Tensors]:
    """sum_j (y - Q_j(s, a))^2    (algorithm 1)."""
    with no_grad():
        y_B = bcq_target(nets, targets, batch, noise, hp)
    return twin_regression(nets, batch, y_B)


def actor_loss(nets: Nets, targets: Nets, batch: Tensors, noise: Tensors, hp: Tensors) -> tuple[Tensor, Tensors]:
    """-Q1(s, z + xi(s, z)), one sampled action a state    (algorithm 1)."""
    with no_grad():
        sampled_BA = nets["decoder"](batch["obs"], noise["latent"])
    loss = -nets["critic1"](batch["obs"], nets["actor"](batch["obs"], sampled_BA)).mean()
    return loss, {"actor_loss": loss}


def act(nets: Nets, batch: Tensors, noise: Tensors, hp: Tensors) -> dict[str, Tensor]:
    """argmax_i Q1(s, z_i + xi(s, z_i)) over N sampled actions    (algorithm 1, the policy pi(s))."""
    num_samples = noise["latent"].shape[1]
    obs = batch["obs"].repeat_interleave(num_samples, 0)  # (B N, S)
    act_ = nets["actor"](obs, nets["decoder"](obs, noise["latent"].flatten(0, 1)))  # (B N, A)
    best_B = nets["critic1"](obs, act_).view(-1, num_samples).argmax(-1)
    act_BNA = act_.view(-1, num_samples, act_.shape[-1])
    return {"act": take_candidate(act_BNA, best_B)}


def diagnose_vae(nets: Nets, batch: Tensors, noise: Tensors, hp: Tensors) -> dict[str, Tensor]:
    """Both terms of the generative model's loss."""
    reconstruction, kl = vae_errors(nets, batch, noise["posterior"])
    return {"reconstruction": reconstruction, "kl": kl}


def posterior_noise(latent_dim: int) -> Mapping[str, Draw]:
    """The random input of `diagnose_vae`."""
    return {"posterior": Draw("normal", (latent_dim,))}


def saturation(sampled_BA: Tensor, perturbed_BA: Tensor, largest: float, max_action: float) -> Tensor:
    """Share of perturbations that are near `largest`, phi max_action, among those that no action's bound cuts, 0-d."""
    is_whole_BA = perturbed_BA.abs() < max_action
    is_near_BA = (perturbed_BA - sampled_BA).abs() > SATURATED * largest
    return (is_near_BA & is_whole_BA).sum() / is_whole_BA.sum().clamp(min=1)


def diagnosis(largest: float, max_action: float) -> Diagnose:
    """The twins' values, the perturbations of one sampled action a state, and the generative model."""
    values = diagnostics.of_critics(act, CRITICS)

    def diagnose(nets: Nets, batch: Tensors, noise: Tensors, hp: Tensors) -> dict[str, Tensor]:
        sampled_BA = nets["decoder"](batch["obs"], noise["latent"][:, 0])
        perturbed_BA = nets["actor"](batch["obs"], sampled_BA)
        share = saturation(sampled_BA, perturbed_BA, largest, max_action)
        return {**values(nets, batch, noise, hp), "saturation": share, **diagnose_vae(nets, batch, noise, hp)}

    return diagnose


def build(*, num_sampled_action: int, forward_sampled_times: int, latent_dim: int) -> Algorithm:
    """BCQ as stages: generative model, critics, perturbation, in the order of algorithm 1's published code."""
    return Algorithm(
        stages=(
            vae_stage(latent_dim),
            Stage(
                critic_loss,
                trains=CRITICS,
                noise={"latent": Draw("normal", (num_sampled_action, latent_dim), LATENT_CLIP)},
            ),
            Stage(actor_loss, trains=("actor",), noise={"latent": Draw("normal", (latent_dim,), LATENT_CLIP)}),
        ),
        targets={name: Target(name, rate="tau", every=1) for name in ("actor", *CRITICS)},
        act=act,
        act_noise={"latent": Draw("normal", (forward_sampled_times, latent_dim), LATENT_CLIP)},
        swept=SWEPT,
        scalar=CRITICS,
    )


def latent_dim(sizes: Sizes) -> int:
    """Dimensions of the latent: twice the action's    (the published code)."""
    return 2 * sizes.act_dim


def from_config(cfg: BCQConfig, sizes: Sizes) -> Algorithm:
    """The algorithm that a configuration describes."""
    algorithm = build(
        num_sampled_action=cfg.num_sampled_action,
        forward_sampled_times=cfg.forward_sampled_times,
        latent_dim=latent_dim(sizes),
    )
    return replace(
        algorithm,
        diagnose=diagnosis(cfg.phi * sizes.max_action, sizes.max_action),
        diagnose_noise=posterior_noise(latent_dim(sizes)),
    )


def networks(cfg: BCQConfig, network: MLPNetworkConfig, sizes: Sizes) -> dict[str, nn.Module]:
    """Perturbation, twin critics with weights of their own, and the two halves of the generative model."""
    obs_dim, act_dim = sizes.obs_dim, sizes.act_dim
    return {
        "actor": Perturbation(obs_dim, act_dim, phi=cfg.phi, max_action=sizes.max_action, **network.hidden),
        **twin_critics(network, sizes),
        **generative_model(network, sizes),
    }


def generative_model(network: MLPNetworkConfig, sizes: Sizes) -> dict[str, nn.Module]:
    """The two halves of the conditional variational auto-encoder."""
    obs_dim, act_dim, latent = sizes.obs_dim, sizes.act_dim, latent_dim(sizes)
    return {
        "encoder": Encoder(obs_dim, act_dim, latent_dim=latent, **network.vae_hidden),
        "decoder": Decoder(obs_dim, act_dim, latent_dim=latent, max_action=sizes.max_action, **network.vae_hidden),
    }


DEFINITION = Definition(BCQConfig, from_config, networks, SWEPT | {"phi"}, ("vae", "critics", "perturbation"))
