"""The multilayer perceptron that every other network is made of."""

import itertools
from collections.abc import Sequence
from typing import TypedDict

import torch
from torch import Tensor, nn

ACTIVATIONS: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "tanh": nn.Tanh, "elu": nn.ELU, "gelu": nn.GELU}

NORM_EPS = 1e-6  # added to the variance: the published code of arXiv:2305.09836


class Hidden(TypedDict):
    """What is between input and output of an MLP, to be handed on as keywords."""

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

    def forward(self, x: Tensor) -> Tensor:
        """Map (*, input_dim) to (*, output_dim)."""
        *hidden, output = self.layers
        for layer in hidden:
            x = layer(x)
        if not torch.is_autocast_enabled(x.device.type):
            last: Tensor = output(x)
            return last
        with torch.autocast(x.device.type, enabled=False):  # what leaves the network keeps full precision
            exact: Tensor = output(x.float())
            return exact
