"""Several critics as one module."""

import copy
from typing import Unpack

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from bcq_exp.networks.critic import Critic
from bcq_exp.networks.mlp import Hidden


class EnsembleCritic(nn.Module):
    """Q_1(s, a) to Q_N(s, a): critics of one shape, whose weights have a leading axis, (N, ...).

    Args:
        num_critics: N, 1 or more; each begins with weights of its own.
        obs_dim, act_dim, **hidden: as `Critic` takes them.
    """

    def __init__(self, num_critics: int, obs_dim: int, act_dim: int, **hidden: Unpack[Hidden]) -> None:
        super().__init__()
        self.num_critics = num_critics
        critics = [Critic(obs_dim, act_dim, **hidden) for _ in range(num_critics)]
        self.stacked = copy.deepcopy(critics[0])
        rows = zip(*(critic.parameters() for critic in critics), strict=True)
        for param, members in zip(self.stacked.parameters(), rows, strict=True):
            param.data = torch.stack(members).detach()

    def members(self) -> list[Critic]:
        """Each critic alone; its weights are rows of the ensemble's, in the same memory."""
        critics = [copy.deepcopy(self.stacked) for _ in range(self.num_critics)]
        for row, critic in enumerate(critics):
            for param, stacked in zip(critic.parameters(), self.stacked.parameters(), strict=True):
                param.data = stacked.data[row]
        return critics

    def forward(self, obs: Tensor, act: Tensor) -> Tensor:
        """Map (*, S) and (*, A), or (N, *, A) with an action for each critic, to values (N, *)."""

        def value(weights: dict[str, Tensor], act: Tensor) -> Tensor:
            q: Tensor = functional_call(self.stacked, weights, (obs, act))
            return q

        own_act = 0 if act.dim() > obs.dim() else None
        q: Tensor = vmap(value, in_dims=(0, own_act))(dict(self.stacked.named_parameters()), act)
        return q
