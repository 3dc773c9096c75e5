"""Networks whose output is an action."""

from typing import Unpack

import torch
from torch import Tensor, nn

from bcq_exp.networks.mlp import MLP, Hidden


class Actor(nn.Module):
    """A deterministic policy, max_action * tanh(MLP(s)).

    Args:
        obs_dim, act_dim: sizes of the last axes of input and output.
        max_action: largest magnitude of an action, in policy units.
        **hidden: `hidden_sizes` and `activation` of the MLP.
    """

    def __init__(self, obs_dim: int, act_dim: int, *, max_action: float, **hidden: Unpack[Hidden]) -> None:
        super().__init__()
        self.max_action = max_action
        self.mlp = MLP(obs_dim, act_dim, **hidden)

    def forward(self, obs: Tensor) -> Tensor:
        """Map (*, S) to actions (*, A)."""
        return self.max_action * torch.tanh(self.mlp(obs))


class Perturbation(nn.Module):
    """A small correction of a sampled action.

    clip(a + phi max_action tanh(MLP(s, a)), -max_action, max_action)    (arXiv:1812.02900, section 4.2)

    Args:
        obs_dim, act_dim: sizes of the last axes of the inputs.
        phi: largest correction relative to `max_action`, in [0, 1]; a buffer, so that members of a population keep
            their own.
        max_action: largest magnitude of an action, in policy units.
        **hidden: `hidden_sizes` and `activation` of the MLP.

    Raises:
        ValueError: `phi` is outside [0, 1].
    """

    phi: Tensor

    def __init__(self, obs_dim: int, act_dim: int, *, phi: float, max_action: float, **hidden: Unpack[Hidden]) -> None:
        super().__init__()
        if not 0 <= phi <= 1:
            raise ValueError(f"phi={phi} is outside [0, 1]")
        self.max_action = max_action
        self.register_buffer("phi", torch.tensor(phi, dtype=torch.get_default_dtype()))
        self.mlp = MLP(obs_dim + act_dim, act_dim, **hidden)

    def forward(self, obs: Tensor, act: Tensor) -> Tensor:
        """Map (*, S) and (*, A) to perturbed actions (*, A)."""
        correction = self.phi * self.max_action * torch.tanh(self.mlp(torch.cat([obs, act], -1)))
        return (act + correction).clamp(-self.max_action, self.max_action)
