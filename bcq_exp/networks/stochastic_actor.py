"""Gaussian policies."""

from typing import Unpack

import torch
from torch import Tensor, nn

from bcq_exp.networks.mlp import MLP, Hidden

STD_BOUNDS = ("clip", "sigmoid")


class StochasticActor(nn.Module):
    """Mean and log standard deviation of a Gaussian over actions; the samples are taken in `bcq_exp.ops.gaussian`.

    A squashed Gaussian is over u of the action max_action tanh(u), and its mean is a raw output (arXiv:1812.05905,
    appendix C). Otherwise the Gaussian is over actions, and its mean is max_action tanh(MLP(s)).

    Args:
        obs_dim, act_dim: sizes of the last axes of input and outputs.
        max_action: largest magnitude of an action, in policy units.
        is_squashed: whether samples go through tanh.
        has_state_std: whether the deviation depends on the state; else it is one learned vector, (A,), that starts at 0
            before it is bounded.
        log_std_range: smallest and largest log standard deviation, in policy units (before tanh, where that follows).
        std_bound: how it stays in its range: `clip` cuts there, `sigmoid` maps all numbers into it.
        dropout: the share of hidden units that a training step silences, in [0, 1).
        **hidden: `hidden_sizes` and `activation` of the MLP.

    Raises:
        ValueError: the range is empty, or the bound is unknown.
    """

    def __init__(
        self,
        obs_dim: int,
        act_dim: int,
        *,
        max_action: float,
        is_squashed: bool,
        has_state_std: bool,
        log_std_range: tuple[float, float],
        std_bound: str,
        dropout: float = 0.0,
        **hidden: Unpack[Hidden],
    ) -> None:
        super().__init__()
        if not log_std_range[0] < log_std_range[1]:
            raise ValueError(f"log_std_range={log_std_range} is empty: the lower number comes first")
        if std_bound not in STD_BOUNDS:
            raise ValueError(f"std_bound={std_bound!r} is unknown; choose one of {', '.join(STD_BOUNDS)}")
        self.max_action, self.is_squashed, self.has_state_std = max_action, is_squashed, has_state_std
        self.log_std_range, self.std_bound, self.dropout = log_std_range, std_bound, dropout
        output_dim = 2 * act_dim if has_state_std else act_dim
        self.mlp = MLP(obs_dim, output_dim, **hidden)
        if not has_state_std:
            self.log_std = nn.Parameter(torch.zeros(act_dim))

    def forward(self, obs: Tensor, uniform: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Map (*, S) to the mean and the log standard deviation, each (*, A).

        With `uniform` numbers in [0, 1), one for each hidden unit, (*, sum of `hidden_sizes`), a unit whose number is
        below `dropout` is 0, and others are divided by 1 - `dropout`; without them all units count
        (jmlr.org/papers/v15/srivastava14a, section 10).
        """
        factors = None if uniform is None else (uniform >= self.dropout).to(uniform.dtype) / (1 - self.dropout)
        out: Tensor = self.mlp(obs, factors)
        mean, free = out.chunk(2, -1) if self.has_state_std else (out, self.log_std.expand_as(out))
        if not self.is_squashed:
            mean = self.max_action * torch.tanh(mean)
        low, high = self.log_std_range
        log_std = free.clamp(low, high) if self.std_bound == "clip" else low + (high - low) * torch.sigmoid(free)
        return mean, log_std
