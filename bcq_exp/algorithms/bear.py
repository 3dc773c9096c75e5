"""BEAR (arXiv:1906.00949): a policy that keeps to the support of the dataset's actions.

As in the published code (aviralkumar2907/BEAR, algos.py): the discrepancy is taken between actions before tanh, on a
square root with 1e-6 under it; the policy's samples in its own loss have noise clipped to [-0.5, 0.5], those of target
and evaluation have not; each critic is averaged over a state's samples before the smallest is taken, without the
ensemble's deviation, as its readme runs it (use_ensemble_variance "False"); at first the policy learns the constraint
alone (`warmup`); and networks begin with torch's own initial weights.

Departures: the multiplier's logarithm starts at 0, not at random, and a step that begins at or beyond a bound and leads
further out is not made, where the published code puts the logarithm back into [-5, 10] after each step. The policy's
log deviation is bounded to [-20, 2], as in SAC, where the published one is free. Where `num_critics` is not 2, the
loss of all critics counts; the published code trains two whatever their number.

Shape suffixes: B batch, N samples of a state, K critics, S observation, A action.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn, no_grad

from bcq_exp.algorithms import bcq, diagnostics, sac
from bcq_exp.algorithms.definition import Definition
from bcq_exp.algorithms.form import Algorithm, Draw, Nets, Stage, Target, Tensors
from bcq_exp.algorithms.schema import ContinuousConfig
from bcq_exp.fields import one_of, within
from bcq_exp.networks import Critic, DualVariable, Encoder, MLPNetworkConfig, RawDecoder, Sizes
from bcq_exp.ops.discrete import take_candidate
from bcq_exp.ops.mmd import KERNELS, squared_mmd
from bcq_exp.ops.td import n_step_target, soft_clipped_double_q

NOISE_CLIP = 0.5  # published code: RegularActor.sample_multiple
MMD_EPS = 1e-6  # under the root: its slope at zero is finite
LOG_MULTIPLIER_RANGE = (-5.0, 10.0)  # published code: the clamp behind the multiplier's step, and lagrange_thresh

SWEPT = frozenset({"gamma", "tau", "lmbda", "mmd_sigma", "mmd_threshold"})


@dataclass(kw_only=True)
class BEARConfig(ContinuousConfig):
    """Keys of `conf/algorithm/bear.yaml`."""

    gamma: float = within(0, 1)
    tau: float = within(0, 1, is_low_open=True)
    lmbda: float = within(0, 1)
    mmd_sigma: float = within(0, is_low_open=True)
    mmd_threshold: float = within(0)
    kernel: str = one_of(*KERNELS)
    num_critics: int = within(2)
    num_samples_match: int = within(1)
    num_sampled_action: int = within(1)
    forward_sampled_times: int = within(1)
    warmup: int = within(0)


def sample(policy: Callable[..., tuple[Tensor, Tensor]], obs: Tensor, eps_BNA: Tensor) -> Tensor:
    """u = mean(s) + std(s) eps, (B, N, A): the action is max_action tanh(u)."""
    mean_BA, log_std_BA = policy(obs)
    return mean_BA.unsqueeze(1) + log_std_BA.exp().unsqueeze(1) * eps_BNA


def values(critics: Nets, names: tuple[str, ...], obs: Tensor, act_BNA: Tensor) -> Tensor:
    """Q_k(s, a_n), (K, B, N)."""
    num_samples = act_BNA.shape[1]
    obs, act = obs.repeat_interleave(num_samples, 0), act_BNA.flatten(0, 1)  # (B N, S), (B N, A)
    return torch.stack([critics[name](obs, act).view(-1, num_samples) for name in names])


def with_bounded_decoder(nets: Nets, max_action: float) -> Nets:
    """The same networks, with actions within their bounds as outputs of `decoder`."""
    return {**nets, "decoder": lambda obs, latent: max_action * torch.tanh(nets["decoder"](obs, latent))}


def multiplier_loss(log_multiplier: Tensor, excess: Tensor) -> Tensor:
    """-alpha (MMD - epsilon), of which log alpha takes a gradient step as long as it stays in its bounds.

    Args:
        log_multiplier: log alpha, 0-d.
        excess: mean MMD - epsilon, 0-d, a constant here.
    """
    low, high = LOG_MULTIPLIER_RANGE
    leaves = ((log_multiplier >= high) & (excess > 0)) | ((log_multiplier <= low) & (excess < 0))
    slope = log_multiplier.detach().clamp(low, high).exp() * excess.detach()
    return -log_multiplier * torch.where(leaves, torch.zeros_like(slope), slope)


def from_config(cfg: BEARConfig, sizes: Sizes) -> Algorithm:
    """BEAR as stages: generative model, critics, and policy with multiplier, first without the critics' advice."""
    max_action, kernel, latent_dim = sizes.max_action, cfg.kernel, bcq.latent_dim(sizes)
    critics = critic_names(cfg)

    def vae_loss(nets: Nets, targets: Nets, batch: Tensors, noise: Tensors, hp: Tensors) -> tuple[Tensor, Tensors]:
        """BCQ's, on a decoder whose raw outputs tanh bounds    (published code)."""
        return bcq.vae_loss(with_bounded_decoder(nets, max_action), targets, batch, noise, hp)

    def critic_loss(nets: Nets, targets: Nets, batch: Tensors, noise: Tensors, hp: Tensors) -> tuple[Tensor, Tensors]:
        """sum_k (y - Q_k(s, a))^2, y = r + gamma (1 - terminated) max_n [lmbda min_k Q_k' + (1 - lmbda) max_k Q_k'].

        The actions a_n are the target policy's    (published code).
        """
        with no_grad():
            act_BNA = max_action * torch.tanh(sample(targets["policy"], batch["obs_next"], noise["eps"]))
            q_KBN = values(targets, critics, batch["obs_next"], act_BNA)
            value_B = soft_clipped_double_q(q_KBN.amin(0), q_KBN.amax(0), hp["lmbda"]).amax(-1)
            y_B = n_step_target(batch["rew"], batch["num_steps"], batch["terminated"], value_B, hp["gamma"])
        losses = {f"{name}_loss": F.mse_loss(nets[name](batch["obs"], batch["act"]), y_B) for name in critics}
        return torch.stack(list(losses.values())).sum(), losses

    def constraint(nets: Nets, batch: Tensors, noise: Tensors, hp: Tensors) -> tuple[Tensor, Tensor, Tensors]:
        """alpha MMD(D(s), pi(s)) together with alpha's own loss, the policy's samples, and metrics."""
        with no_grad():
            num_samples = noise["latent"].shape[1]
            obs_BNS = batch["obs"].unsqueeze(1).expand(-1, num_samples, -1)
            cloned_BNA = nets["decoder"](obs_BNS, noise["latent"])
        raw_BNA = sample(nets["policy"], batch["obs"], noise["eps"])
        mmd = (squared_mmd(cloned_BNA, raw_BNA, hp["mmd_sigma"], kernel) + MMD_EPS).sqrt().mean()
        log_multiplier = nets["multiplier"]()
        multiplier = log_multiplier.detach().clamp(*LOG_MULTIPLIER_RANGE).exp()
        loss = multiplier * mmd + multiplier_loss(log_multiplier, mmd.detach() - hp["mmd_threshold"])
        return loss, raw_BNA, {"mmd": mmd, "multiplier": multiplier}

    def warmup_loss(nets: Nets, targets: Nets, batch: Tensors, noise: Tensors, hp: Tensors) -> tuple[Tensor, Tensors]:
        """The constraint alone    (published code)."""
        loss, _, metrics = constraint(nets, batch, noise, hp)
        return loss, metrics

    def policy_loss(nets: Nets, targets: Nets, batch: Tensors, noise: Tensors, hp: Tensors) -> tuple[Tensor, Tensors]:
        """-min_k mean_n Q_k(s, a_n) + alpha MMD    (published code)."""
        loss, raw_BNA, metrics = constraint(nets, batch, noise, hp)
        q_KBN = values(nets, critics, batch["obs"], max_action * torch.tanh(raw_BNA))
        actor = -q_KBN.mean(-1).amin(0).mean()
        return actor + loss, {"actor_loss": actor, **metrics}

    def act(nets: Nets, batch: Tensors, noise: Tensors, hp: Tensors) -> dict[str, Tensor]:
        """argmax_n Q_1(s, a_n) over samples of the policy    (published code)."""
        act_BNA = max_action * torch.tanh(sample(nets["policy"], batch["obs"], noise["eps"]))
        best_B = values(nets, critics[:1], batch["obs"], act_BNA)[0].argmax(-1)
        return {"act": take_candidate(act_BNA, best_B)}

    critic_values = diagnostics.of_critics(act, critics)

    def diagnose(nets: Nets, batch: Tensors, noise: Tensors, hp: Tensors) -> dict[str, Tensor]:
        """The critics' values and the generative model."""
        vae = bcq.diagnose_vae(with_bounded_decoder(nets, max_action), batch, noise, hp)
        return {**critic_values(nets, batch, noise, hp), **vae}

    matched = {
        "latent": Draw("normal", (cfg.num_samples_match, latent_dim), bcq.LATENT_CLIP),
        "eps": Draw("normal", (cfg.num_samples_match, sizes.act_dim), NOISE_CLIP),
    }
    trained = ("policy", "multiplier")
    return Algorithm(
        stages=(
            Stage(vae_loss, trains=("encoder", "decoder"), noise={"latent": Draw("normal", (latent_dim,))}),
            Stage(
                critic_loss,
                trains=critics,
                noise={"eps": Draw("normal", (cfg.num_sampled_action, sizes.act_dim))},
            ),
            Stage(warmup_loss, trains=trained, noise=matched, stop=cfg.warmup),
            Stage(policy_loss, trains=trained, noise=matched, start=cfg.warmup),
        ),
        targets={name: Target(name, rate="tau", every=1) for name in ("policy", *critics)},
        act=act,
        diagnose=diagnose,
        diagnose_noise=bcq.posterior_noise(latent_dim),
        act_noise={"eps": Draw("normal", (cfg.forward_sampled_times, sizes.act_dim))},
        swept=SWEPT,
        scalar=critics,
    )


def critic_names(cfg: BEARConfig) -> tuple[str, ...]:
    """Names of the ensemble's critics."""
    return tuple(f"critic{number}" for number in range(1, cfg.num_critics + 1))


def networks(cfg: BEARConfig, network: MLPNetworkConfig, sizes: Sizes) -> dict[str, nn.Module]:
    """A squashed Gaussian policy, its multiplier, critics with weights of their own, and the generative model."""
    obs_dim, act_dim, latent_dim = sizes.obs_dim, sizes.act_dim, bcq.latent_dim(sizes)
    return {
        "policy": sac.squashed_policy(network, sizes),
        "multiplier": DualVariable(),
        **{name: Critic(obs_dim, act_dim, **network.hidden) for name in critic_names(cfg)},
        "encoder": Encoder(obs_dim, act_dim, latent_dim=latent_dim, **network.vae_hidden),
        "decoder": RawDecoder(obs_dim, act_dim, latent_dim=latent_dim, **network.vae_hidden),
    }


DEFINITION = Definition(BEARConfig, from_config, networks, SWEPT, ("vae", "critics", "policy", "multiplier"))
