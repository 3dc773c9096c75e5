"""State values."""

from typing import Unpack

from torch import Tensor, nn

from bcq_exp.networks.mlp import MLP, Hidden


class Value(nn.Module):
    """V(s).

    Args:
        obs_dim: size of the last axis of the input.
        **hidden: `hidden_sizes` and `activation` of the MLP.
    """

    def __init__(self, obs_dim: int, **hidden: Unpack[Hidden]) -> None:
        super().__init__()
        self.mlp = MLP(obs_dim, 1, **hidden)

    def forward(self, obs: Tensor) -> Tensor:
        """Map (*, S) to values (*)."""
        v: Tensor = self.mlp(obs)
        return v.squeeze(-1)
