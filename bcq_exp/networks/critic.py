"""State-action values."""

from typing import Unpack

import torch
from torch import Tensor, nn

from bcq_exp.networks.mlp import ACTIVATIONS, MLP, Hidden, Linear


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


class LateActionCritic(nn.Module):
    """Q(s, a) of a continuous action that enters the second layer, behind the activations of the first.

    The published code of arXiv:1812.02900 in its first upload, sfujim/BCQ, DDPG.py, commit 115f77d.

    Args:
        obs_dim, act_dim: sizes of the last axes of the inputs.
        **hidden: `hidden_sizes`, one at least, and `activation` of all layers.

    Raises:
        ValueError: there is no hidden layer.
    """

    def __init__(self, obs_dim: int, act_dim: int, **hidden: Unpack[Hidden]) -> None:
        super().__init__()
        if not hidden["hidden_sizes"]:
            raise ValueError("hidden_sizes=[]: a critic whose action enters the second layer has one at least")
        first, *others = hidden["hidden_sizes"]
        self.first = Linear(obs_dim, first)
        self.activation = ACTIVATIONS[hidden["activation"]]()
        self.mlp = MLP(first + act_dim, 1, hidden_sizes=others, activation=hidden["activation"])

    def forward(self, obs: Tensor, act: Tensor) -> Tensor:
        """Map (*, S) and (*, A) to values (*)."""
        q: Tensor = self.mlp(torch.cat([self.activation(self.first(obs)), act], -1))
        return q.squeeze(-1)
