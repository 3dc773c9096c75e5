"""Plain modules: no algorithm, no optimizer, no random numbers but the initial weights.

Shapes in docstrings: S features of an observation, A dimensions of an action, L of a latent, * any leading axes.

`NETWORKS` is the registry of the kinds that `network.kind` names. A kind has the name of its file in `conf/network/`.
"""

from bcq_exp.networks.actor import Actor, Perturbation
from bcq_exp.networks.critic import Critic, LateActionCritic
from bcq_exp.networks.dual_variable import DualVariable
from bcq_exp.networks.ensemble import EnsembleCritic
from bcq_exp.networks.mlp import ACTIVATIONS, MLP, Hidden, MLPNetworkConfig
from bcq_exp.networks.nature_cnn import Branch, NatureCNN, NatureCNNConfig
from bcq_exp.networks.schema import NetworkConfig, Sizes
from bcq_exp.networks.stochastic_actor import StochasticActor
from bcq_exp.networks.vae import VAE, Decoder, Encoder, RawDecoder
from bcq_exp.networks.value import Value

NETWORKS: dict[str, type[NetworkConfig]] = {"mlp": MLPNetworkConfig, "nature_cnn": NatureCNNConfig}

__all__ = [
    "ACTIVATIONS",
    "MLP",
    "NETWORKS",
    "VAE",
    "Actor",
    "Branch",
    "Critic",
    "Decoder",
    "DualVariable",
    "Encoder",
    "EnsembleCritic",
    "Hidden",
    "LateActionCritic",
    "MLPNetworkConfig",
    "NatureCNN",
    "NatureCNNConfig",
    "NetworkConfig",
    "Perturbation",
    "RawDecoder",
    "Sizes",
    "StochasticActor",
    "Value",
]
