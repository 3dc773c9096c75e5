"""State-action values."""

from typing import Unpack

import torch
from torch import Tensor, nn

from bcq_exp.networks.mlp import MLP, Hidden


class Critic(nn.Module):
    """Q(s, a) of a continuous action.

    Args:
        obs_dim, act_dim: sizes of the last axes of the inputs.
        has_layer_norm, **hidden: `has_layer_norm`, `hidden_sizes` and `activation` of the MLP.
    """

    def __init__(self, obs_dim: int, act_dim: int, *, has_layer_norm: bool = False, **hidden: Unpack[Hidden]) -> None:
        super().__init__()
        self.mlp = MLP(obs_dim + act_dim, 1, has_layer_norm=has_layer_norm, **hidden)

    def forward(self, obs: Tensor, act: Tensor) -> Tensor:
        """Map (*, S) and (*, A) to values (*)."""
        q: Tensor = self.mlp(torch.cat([obs, act], -1))
        return q.squeeze(-1)
