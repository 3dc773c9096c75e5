"""State-action values."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from bcq_exp.networks.mlp import MLP


class Critic(nn.Module):
    """Q(s, a) of a continuous action.

    Args:
        obs_dim, act_dim: sizes of the last axes of the inputs.
        hidden_sizes, activation, has_layer_norm: of the MLP.
    """

    def __init__(
        self,
        obs_dim: int,
        act_dim: int,
        *,
        hidden_sizes: Sequence[int],
        activation: str,
        has_layer_norm: bool = False,
    ) -> None:
        super().__init__()
        self.mlp = MLP(
            obs_dim + act_dim, 1, hidden_sizes=hidden_sizes, activation=activation, has_layer_norm=has_layer_norm
        )

    def forward(self, obs: Tensor, act: Tensor) -> Tensor:
        """Map (*, S) and (*, A) to values (*)."""
        q: Tensor = self.mlp(torch.cat([obs, act], -1))
        return q.squeeze(-1)
