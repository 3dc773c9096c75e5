"""State values."""

from collections.abc import Sequence

from torch import Tensor, nn

from bcq_exp.networks.mlp import MLP


class Value(nn.Module):
    """V(s).

    Args:
        obs_dim: size of the last axis of the input.
        hidden_sizes, activation: of the MLP.
    """

    def __init__(self, obs_dim: int, *, hidden_sizes: Sequence[int], activation: str) -> None:
        super().__init__()
        self.mlp = MLP(obs_dim, 1, hidden_sizes=hidden_sizes, activation=activation)

    def forward(self, obs: Tensor) -> Tensor:
        """Map (*, S) to values (*)."""
        v: Tensor = self.mlp(obs)
        return v.squeeze(-1)
