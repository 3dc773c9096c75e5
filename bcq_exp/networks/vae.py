"""The conditional variational auto-encoder of the behaviour's actions (arXiv:1812.02900, section 4.2)."""

from typing import Unpack

import torch
from torch import Tensor, nn

from bcq_exp.networks.mlp import MLP, Hidden

LOG_STD_RANGE = (-4.0, 15.0)  # "clamped for numerical stability": arXiv:1812.02900's published code


class Encoder(nn.Module):
    """E(s, a): the posterior's mean and standard deviation.

    Args:
        obs_dim, act_dim: sizes of the last axes of the inputs.
        latent_dim: size of the last axis of each output.
        **hidden: `hidden_sizes` and `activation` of the MLP.
    """

    def __init__(self, obs_dim: int, act_dim: int, *, latent_dim: int, **hidden: Unpack[Hidden]) -> None:
        super().__init__()
        self.latent_dim = latent_dim
        self.mlp = MLP(obs_dim + act_dim, 2 * latent_dim, **hidden)

    def forward(self, obs: Tensor, act: Tensor) -> tuple[Tensor, Tensor]:
        """Map (*, S) and (*, A) to the mean and the standard deviation, each (*, latent_dim)."""
        mean, log_std = self.mlp(torch.cat([obs, act], -1)).chunk(2, -1)
        return mean, log_std.clamp(*LOG_STD_RANGE).exp()


class RawDecoder(nn.Module):
    """MLP(s, z), an action before tanh bounds it.

    Args:
        obs_dim, latent_dim: sizes of the last axes of the inputs.
        act_dim: size of the last axis of the output.
        **hidden: `hidden_sizes` and `activation` of the MLP.
    """

    def __init__(self, obs_dim: int, act_dim: int, *, latent_dim: int, **hidden: Unpack[Hidden]) -> None:
        super().__init__()
        self.mlp = MLP(obs_dim + latent_dim, act_dim, **hidden)

    def forward(self, obs: Tensor, latent: Tensor) -> Tensor:
        """Map (*, S) and (*, L) to unbounded numbers (*, A)."""
        raw: Tensor = self.mlp(torch.cat([obs, latent], -1))
        return raw


class Decoder(RawDecoder):
    """D(s, z): an action, max_action * tanh(MLP(s, z)).

    Args:
        obs_dim, latent_dim: sizes of the last axes of the inputs.
        act_dim: size of the last axis of the output.
        max_action: largest magnitude of an action, in policy units.
        **hidden: `hidden_sizes` and `activation` of the MLP.
    """

    def __init__(
        self, obs_dim: int, act_dim: int, *, latent_dim: int, max_action: float, **hidden: Unpack[Hidden]
    ) -> None:
        super().__init__(obs_dim, act_dim, latent_dim=latent_dim, **hidden)
        self.max_action = max_action

    def forward(self, obs: Tensor, latent: Tensor) -> Tensor:
        """Map (*, S) and (*, L) to actions (*, A)."""
        return self.max_action * torch.tanh(super().forward(obs, latent))


class VAE(nn.Module):
    """Encoder and decoder of one generative model; what a policy trains are the two halves.

    Args:
        encoder: (obs, act) to the posterior's mean and standard deviation.
        decoder: (obs, latent) to an action.
    """

    def __init__(self, encoder: Encoder, decoder: Decoder) -> None:
        super().__init__()
        self.encoder, self.decoder, self.latent_dim = encoder, decoder, encoder.latent_dim

    def forward(self, obs: Tensor, act: Tensor, noise: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Reconstruct (*, A) from the latent mean + std * noise; also the posterior's mean and std, (*, L)."""
        mean, std = self.encoder(obs, act)
        recon: Tensor = self.decoder(obs, mean + std * noise)
        return recon, mean, std
