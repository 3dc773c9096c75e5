"""The kind of network `nature_cnn`: the convolutions of doi:10.1038/nature14236 (Methods, "Model architecture")."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import gymnasium as gym
import numpy as np
from torch import Tensor, nn

from bcq_exp.networks.mlp import MLP
from bcq_exp.networks.schema import NetworkConfig, Sizes

CONVOLUTIONS = ((32, 8, 4), (64, 4, 2), (64, 3, 1))  # channels, side of the kernel, stride
SMALLEST_SIDE = 36  # pixels that leave one after the three convolutions


class NatureCNN(nn.Module):
    """The convolutions: a trunk that several `Branch`es may share.

    Args:
        obs_shape: channels, height and width of an image; at least 36 pixels each way.

    Raises:
        ValueError: another number of axes, or too few pixels.
    """

    def __init__(self, obs_shape: Sequence[int]) -> None:
        super().__init__()
        if len(obs_shape) != 3 or min(obs_shape[1:]) < SMALLEST_SIDE:
            raise ValueError(
                f"obs_shape={tuple(obs_shape)}: (channels, height, width) with at least {SMALLEST_SIDE} pixels each way"
                " is allowed"
            )
        fan_in, *sides = obs_shape
        layers: list[nn.Module] = []
        for channels, kernel, stride in CONVOLUTIONS:
            layers += [nn.Conv2d(fan_in, channels, kernel, stride), nn.ReLU()]
            fan_in, sides = channels, [(side - kernel) // stride + 1 for side in sides]
        self.layers = nn.Sequential(*layers)
        self.num_features = fan_in * sides[0] * sides[1]

    def forward(self, obs: Tensor) -> Tensor:
        """Map images (B, C, H, W) or (C, H, W) in [0, 255], bytes or floats, to features (B, F) or (F,).

        The channels of a pixel lie together from here on, which is how convolutions are fastest on a CPU.
        """
        pixels = (obs / 255).movedim(-3, -1).contiguous()
        out: Tensor = self.layers(pixels.movedim(-1, -3))
        return out.flatten(-3)


class Branch(nn.Module):
    """A shared trunk with a head: rectified hidden layers and a raw linear output.

    Args:
        trunk: not copied, so that branches of one trunk train it together.
        output_dim: size of the last output axis.
        hidden_sizes: width of each hidden layer of the head; the paper has one of 512.
    """

    def __init__(self, trunk: NatureCNN, output_dim: int, *, hidden_sizes: Sequence[int]) -> None:
        super().__init__()
        self.trunk = trunk
        self.head = MLP(trunk.num_features, output_dim, hidden_sizes=hidden_sizes, activation="relu")

    def forward(self, obs: Tensor) -> Tensor:
        """Map images, as the trunk takes them, to (B, output_dim) or (output_dim,)."""
        out: Tensor = self.head(self.trunk(obs))
        return out


@dataclass(kw_only=True)
class NatureCNNConfig(NetworkConfig):
    """Keys of a network on images; `hidden_sizes` are those of each head."""

    observations: ClassVar[str] = (
        f"uint8 observations (channels, height, width) of at least {SMALLEST_SIDE} pixels each way"
    )

    @staticmethod
    def fits(space: gym.Space[Any]) -> bool:
        """Whether observations are uint8 images, channels first, large enough for the convolutions."""
        shape = space.shape if isinstance(space, gym.spaces.Box) else ()
        return len(shape) == 3 and min(shape[1:]) >= SMALLEST_SIDE and space.dtype == np.uint8

    def heads(self, outputs: Mapping[str, int], sizes: Sizes) -> dict[str, nn.Module]:
        """Networks with heads of their own on convolutions that they share."""
        trunk = NatureCNN(sizes.obs_shape)
        return {name: Branch(trunk, size, hidden_sizes=self.hidden_sizes) for name, size in outputs.items()}
