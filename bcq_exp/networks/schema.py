"""Schemas of the kinds of network: what a configuration of each holds, and the networks that it makes."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import nn

from bcq_exp.fields import named, one_of, within
from bcq_exp.networks.mlp import ACTIVATIONS, MLP, Hidden
from bcq_exp.networks.nature_cnn import Branch, NatureCNN


@dataclass(frozen=True)
class Sizes:
    """What the environment and the action map decide.

    Args:
        obs_shape: of an observation.
        act_dim: dimensions of a continuous action, or the number of discrete ones.
        max_action: largest magnitude of a continuous action, in policy units.
    """

    obs_shape: tuple[int, ...]
    act_dim: int
    max_action: float

    @property
    def obs_dim(self) -> int:
        """Size of an observation of one axis; there is none where it has several."""
        (obs_dim,) = self.obs_shape
        return obs_dim


@dataclass(kw_only=True)
class NetworkConfig(ABC):
    """What every kind of network has."""

    name: str = named()
    kind: str
    hidden_sizes: list[int] = within(1)

    @abstractmethod
    def heads(self, outputs: Mapping[str, int], sizes: Sizes) -> dict[str, nn.Module]:
        """Fresh networks by name, each from observations to that many raw linear outputs."""

    def per_action(self, names: Sequence[str], sizes: Sizes) -> dict[str, nn.Module]:
        """Fresh networks by name, each from observations to raw linear outputs (A,), one a discrete action."""
        return self.heads(dict.fromkeys(names, sizes.act_dim), sizes)


@dataclass(kw_only=True)
class MLPNetworkConfig(NetworkConfig):
    """Widths and activations of networks on observations of one axis.

    `vae_hidden_sizes` is read by algorithms with a generative model of the actions only.
    """

    vae_hidden_sizes: list[int] = within(1)
    activation: str = one_of(*ACTIVATIONS)

    @property
    def hidden(self) -> Hidden:
        """Of every network but the generative model."""
        return {"hidden_sizes": self.hidden_sizes, "activation": self.activation}

    @property
    def vae_hidden(self) -> Hidden:
        """Of the generative model's two halves."""
        return {"hidden_sizes": self.vae_hidden_sizes, "activation": self.activation}

    def heads(self, outputs: Mapping[str, int], sizes: Sizes) -> dict[str, nn.Module]:
        """Networks that share nothing."""
        return {name: MLP(sizes.obs_dim, num_outputs, **self.hidden) for name, num_outputs in outputs.items()}


@dataclass(kw_only=True)
class NatureCNNConfig(NetworkConfig):
    """Widths of a head on the convolutions, which are the paper's."""

    def heads(self, outputs: Mapping[str, int], sizes: Sizes) -> dict[str, nn.Module]:
        """Heads of their own on convolutions that they share."""
        trunk = NatureCNN(sizes.obs_shape)
        return {name: Branch(trunk, size, hidden_sizes=self.hidden_sizes) for name, size in outputs.items()}


NETWORKS: dict[str, type[NetworkConfig]] = {"mlp": MLPNetworkConfig, "nature_cnn": NatureCNNConfig}
