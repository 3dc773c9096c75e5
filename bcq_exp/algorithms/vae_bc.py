"""VAE-BC (arXiv:1812.02900, section 5): behavioural cloning by the generative model of BCQ.

The model is trained as BCQ's; the policy takes one action that it samples. Where BCQ chooses the best of many by its
critics, this shows what the generative model alone is worth.
"""

from dataclasses import dataclass

from torch import Tensor, nn

from bcq_exp.algorithms import bcq
from bcq_exp.algorithms.definition import Definition
from bcq_exp.algorithms.form import Algorithm, Draw, Nets, Tensors
from bcq_exp.algorithms.schema import ContinuousConfig
from bcq_exp.networks import MLPNetworkConfig, Sizes


@dataclass(kw_only=True)
class VAEBCConfig(ContinuousConfig):
    """Keys of `conf/algorithm/vae_bc.yaml`."""


def act(nets: Nets, batch: Tensors, noise: Tensors, hp: Tensors) -> dict[str, Tensor]:
    """D(s, z), z ~ N(0, 1) clipped to [-0.5, 0.5]    (BCQ's published code)."""
    return {"act": nets["decoder"](batch["obs"], noise["latent"])}


def from_config(cfg: VAEBCConfig, sizes: Sizes) -> Algorithm:
    """VAE-BC as stages: the first of BCQ's."""
    latent_dim = bcq.latent_dim(sizes)
    return Algorithm(
        stages=(bcq.vae_stage(latent_dim),),
        targets={},
        act=act,
        diagnose=bcq.diagnose_vae,
        diagnose_noise=bcq.posterior_noise(latent_dim),
        act_noise={"latent": Draw("normal", (latent_dim,), bcq.LATENT_CLIP)},
        swept=frozenset(),
    )


def networks(cfg: VAEBCConfig, network: MLPNetworkConfig, sizes: Sizes) -> dict[str, nn.Module]:
    """The two halves of the generative model."""
    return bcq.generative_model(network, sizes)


DEFINITION = Definition(VAEBCConfig, from_config, networks, frozenset())
