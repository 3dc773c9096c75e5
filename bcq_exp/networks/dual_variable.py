"""Learned numbers: temperatures and Lagrange multipliers."""

import torch
from torch import Tensor, nn


class DualVariable(nn.Module):
    """The logarithm of a positive number, as a network without input; it starts at 0."""

    def __init__(self) -> None:
        super().__init__()
        self.log_value = nn.Parameter(torch.zeros(()))

    def forward(self) -> Tensor:
        """The logarithm of the number, 0-d."""
        return self.log_value
