"""What a policy does in each recorded state. It changes no more, so it is asked once and not in each update.

Shape suffixes: N rows of the dataset, B batch, A number of actions or action dimensions.
"""

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bcq_exp.data import Batch
from bcq_exp.ope.pieces import piecewise
from bcq_exp.policies import Policy


class Decisions(nn.Module):
    """A policy as a network from rows of the dataset to what it does there.

    Policies of any algorithm and size look alike in this form, so that what is learned about all of them is one
    population.

    Args:
        table_NA: as `decide` makes it.
    """

    table: Tensor

    def __init__(self, table_NA: Tensor) -> None:
        super().__init__()
        self.register_buffer("table", table_NA)

    def forward(self, row_B: Tensor) -> Tensor:
        """Map rows (B,) to what the policy does there, (B, A)."""
        return self.table[row_B]


def decide(policy: Policy, obs: Any, mask: Any) -> Tensor:
    """What a policy does in states, as it does it in evaluation, (N, A) on its device.

    Discrete: the probability of each action, `eval_eps` included. Continuous: an action in the environment's units; a
    policy that draws its actions is asked once a state.

    Args:
        policy: its acting noise goes on from where it is.
        obs: observations (N, *S), an array or stacks of frames.
        mask: available actions (N, A), or None where all are.
    """

    def decisions(obs_B: Any, mask_BA: Any) -> Tensor:
        out = policy(Batch(obs=obs_B) if mask_BA is None else Batch(obs=obs_B, mask=mask_BA))
        if not policy.action_map.is_discrete:
            acts = policy.map_action(out.act.cpu().numpy())
            return torch.as_tensor(acts.reshape(len(acts), -1), device=policy.device, dtype=torch.get_default_dtype())
        num_actions = policy.action_map.act_dim
        chosen_BA = out.probs if "probs" in out else F.one_hot(out.act, num_actions)
        available_BA = torch.as_tensor(np.ones((len(obs_B), num_actions)) if mask_BA is None else mask_BA)
        return exploring(chosen_BA, available_BA.to(policy.device, torch.bool), policy.hp["eval_eps"])

    return piecewise(decisions, obs, mask)


def exploring(pi_BA: Tensor, available_BA: Tensor, epsilon: Tensor) -> Tensor:
    """(1 - epsilon) pi(a|s) + epsilon / number of available actions, 0 for all others; (B, A)."""
    num_available_B1 = available_BA.sum(-1, keepdim=True).clamp(min=1)  # none is where an episode has ended
    return (1 - epsilon) * pi_BA + epsilon * available_BA / num_available_B1
