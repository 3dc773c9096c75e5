"""The multilayer perceptron that every other network is made of, and the kind of network `mlp`."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, TypedDict

import gymnasium as gym
import torch
from torch import Tensor, nn

from bcq_exp.fields import one_of, within
from bcq_exp.networks.schema import NetworkConfig, Sizes

ACTIVATIONS: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "tanh": nn.Tanh, "elu": nn.ELU, "gelu": nn.GELU}

NORM_EPS = 1e-6  # added to the variance: the published code of arXiv:2305.09836


class Hidden(TypedDict):
    """Keyword arguments of an MLP: its hidden layers."""

    hidden_sizes: Sequence[int]
    activation: str


class Linear(nn.Linear):
    """torch's, with the bias added behind the product, not inside it.

    A compiler makes one pass of the sum and the activation that follows; the product that takes the bias in has it
    copied into every row first, a tenth of an update. The axis between them keeps the compiler from joining the two.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Map (*, in_features) to (*, out_features)."""
        return ((x @ self.weight.mT).unsqueeze(0) + self.bias).squeeze(0)


class MLP(nn.Module):
    """Linear layers with an activation between them and a raw linear output: Q values and logits keep their range.

    Args:
        input_dim: size of the last input axis.
        output_dim: size of the last output axis.
        hidden_sizes: width of each hidden layer; empty makes a linear map.
        activation: a key of `ACTIVATIONS`.
        has_layer_norm: whether each activation is followed by layer normalisation (arXiv:1607.06450), with trained
            scale and shift.
    """

    def __init__(
        self,
        input_dim: int,
        output_dim: int,
        *,
        hidden_sizes: Sequence[int],
        activation: str,
        has_layer_norm: bool = False,
    ) -> None:
        super().__init__()
        if activation not in ACTIVATIONS:
            raise ValueError(f"activation={activation!r} is unknown; choose one of {', '.join(ACTIVATIONS)}")
        sizes = [input_dim, *hidden_sizes]
        layers: list[nn.Module] = []
        for fan_in, fan_out in itertools.pairwise(sizes):
            layers += [Linear(fan_in, fan_out), ACTIVATIONS[activation]()]
            if has_layer_norm:
                layers.append(nn.LayerNorm(fan_out, eps=NORM_EPS))
        self.layers = nn.Sequential(*layers, Linear(sizes[-1], output_dim))

    def forward(self, x: Tensor, factors: Tensor | None = None) -> Tensor:
        """Map (*, input_dim) to (*, output_dim); `factors` of all hidden units, (*, sum of sizes), multiply them."""
        *hidden, output = self.layers
        seen = 0
        for layer in hidden:
            x = layer(x)
            if factors is not None and not isinstance(layer, nn.Linear | nn.LayerNorm):  # an activation
                x = x * factors[..., seen : seen + x.shape[-1]]
                seen += x.shape[-1]
        if not torch.is_autocast_enabled(x.device.type):
            last: Tensor = output(x)
            return last
        with torch.autocast(x.device.type, enabled=False):  # what leaves the network keeps full precision
            exact: Tensor = output(x.float())
            return exact


@dataclass(kw_only=True)
class MLPNetworkConfig(NetworkConfig):
    """Keys of a network on observations of one axis.

    Only algorithms with a generative model of the actions read `vae_hidden_sizes`.
    """

    observations: ClassVar[str] = "observations of one axis"
    is_for_continuous: ClassVar[bool] = True

    vae_hidden_sizes: list[int] = within(1)
    activation: str = one_of(*ACTIVATIONS)

    @property
    def hidden(self) -> Hidden:
        """Hidden layers of every network but the generative model."""
        return {"hidden_sizes": self.hidden_sizes, "activation": self.activation}

    @property
    def vae_hidden(self) -> Hidden:
        """Hidden layers of the generative model's two halves."""
        return {"hidden_sizes": self.vae_hidden_sizes, "activation": self.activation}

    @staticmethod
    def fits(space: gym.Space[Any]) -> bool:
        """Whether observations have one axis."""
        return isinstance(space, gym.spaces.Box) and len(space.shape) == 1

    def heads(self, outputs: Mapping[str, int], sizes: Sizes) -> dict[str, nn.Module]:
        """Networks that share no layer."""
        return {name: MLP(sizes.obs_dim, num_outputs, **self.hidden) for name, num_outputs in outputs.items()}
