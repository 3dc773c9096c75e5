"""Plain modules: no algorithm, no optimizer, no random numbers but the initial weights."""

from bcq_exp.networks.actor import Actor, Perturbation
from bcq_exp.networks.critic import Critic
from bcq_exp.networks.dual_variable import DualVariable
from bcq_exp.networks.mlp import ACTIVATIONS, MLP, Hidden
from bcq_exp.networks.nature_cnn import SMALLEST_SIDE, Branch, NatureCNN
from bcq_exp.networks.stochastic_actor import StochasticActor
from bcq_exp.networks.vae import VAE, Decoder, Encoder, RawDecoder
from bcq_exp.networks.value import Value

__all__ = [
    "ACTIVATIONS",
    "MLP",
    "SMALLEST_SIDE",
    "VAE",
    "Actor",
    "Branch",
    "Critic",
    "Decoder",
    "DualVariable",
    "Encoder",
    "Hidden",
    "NatureCNN",
    "Perturbation",
    "RawDecoder",
    "StochasticActor",
    "Value",
]
