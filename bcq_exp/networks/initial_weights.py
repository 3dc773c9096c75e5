"""Initial weights: the named choices of `network.init`, each as the published code that it is from draws them.

All draw from torch's generator, so that the run's seed decides them. Layer normalisation and learned vectors start as
they are, with every choice.
"""

import math
from collections.abc import Callable

import torch
from torch import nn

Layer = nn.Linear | nn.Conv2d

FAN_IN_BIAS = 0.1  # aviralkumar2907/CQL, d4rl/rlkit/torch/networks.py, Mlp: b_init_value


def torch_default(layer: Layer) -> None:
    """Leave a layer as torch has drawn it: weights and biases uniform in +-1 / sqrt(inputs of a unit)."""


def orthogonal(layer: Layer) -> None:
    """Orthogonal weights times sqrt(2), biases 0    (ikostrikov/implicit_q_learning, common.py, default_init)."""
    nn.init.orthogonal_(layer.weight, gain=math.sqrt(2))
    _set_bias(layer, 0.0)


def fan_in(layer: Layer) -> None:
    """Weights uniform in +-1 / sqrt(n), biases 0.1    (aviralkumar2907/CQL, pytorch_util.py, fanin_init; networks.py).

    As in that code, n of a linear layer is the number of its outputs, in spite of the name; that of a convolution is
    the number of a unit's inputs.
    """
    size = layer.out_features if isinstance(layer, nn.Linear) else layer.weight[0].numel()
    _draw_uniform(layer.weight, 1 / math.sqrt(size))
    _set_bias(layer, FAN_IN_BIAS)


def variance_scaling(layer: Layer) -> None:
    """Weights uniform with variance 1 / (sqrt(3) inputs of a unit), biases 0.

    google-research/batch_rl, batch_rl/multi_head/atari_helpers.py: Keras' VarianceScaling of scale 1 / sqrt(3), so that
    the bound is sqrt(sqrt(3) / inputs).
    """
    _draw_uniform(layer.weight, math.sqrt(math.sqrt(3) / layer.weight[0].numel()))
    _set_bias(layer, 0.0)


INITS: dict[str, Callable[[Layer], None]] = {
    "torch": torch_default,
    "orthogonal": orthogonal,
    "fan_in": fan_in,
    "variance_scaling": variance_scaling,
}


def initialize(net: nn.Module, init: str, last_layer_scale: float | None) -> None:
    """Draw the weights and biases of a network's linear layers and convolutions anew.

    Args:
        net: its output layer is the last of its linear layers, in the order in which they were made. Of an ensemble,
            which has `members`, each is drawn alone.
        init: a key of `INITS`; `torch` draws nothing.
        last_layer_scale: largest magnitude of the output layer's weights and biases, which are uniform; None draws that
            layer as the others.
    """
    if members := getattr(net, "members", None):
        for member in members():
            initialize(member, init, last_layer_scale)
        return
    layers = [layer for layer in net.modules() if isinstance(layer, Layer)]
    for layer in layers:
        INITS[init](layer)
    if last_layer_scale is not None and layers:
        for param in layers[-1].parameters():
            _draw_uniform(param, last_layer_scale)


def _draw_uniform(param: torch.Tensor, bound: float) -> None:
    nn.init.uniform_(param, -bound, bound)


def _set_bias(layer: Layer, value: float) -> None:
    if layer.bias is not None:
        nn.init.constant_(layer.bias, value)
