"""A policy's actions in every recorded state. The policy is fixed, so they are computed once.

Shape suffixes: N rows of the dataset, B batch, A number of actions or action dimensions.
"""

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bcq_exp.data import Batch
from bcq_exp.ope.batches import map_batches
from bcq_exp.policies import Policy


class ActionTable(nn.Module):
    """A policy as a network from the rows of a dataset to its actions there.

    Policies of any algorithm and size have the same form as tables, so one population can learn about all of them.

    Args:
        table_NA: made by `tabulate`.
    """

    table: Tensor

    def __init__(self, table_NA: Tensor) -> None:
        super().__init__()
        self.register_buffer("table", table_NA)

    def forward(self, row_B: Tensor) -> Tensor:
        """Map rows (B,) to the policy's actions there, (B, A)."""
        return self.table[row_B]


def tabulate(policy: Policy, obs: Any, mask: Any) -> Tensor:
    """Compute a policy's actions in given states, as it acts in evaluation: (N, A) on its device.

    Discrete: the probability of each action, `eval_eps` included. Continuous: an action in the environment's units; a
    policy that samples its actions gives one sample a state.

    Args:
        policy: its acting noise continues from its current state.
        obs: observations (N, *S), an array or stacks of frames.
        mask: available actions (N, A), or None where all are.
    """

    def actions(obs_B: Any, mask_BA: Any) -> Tensor:
        out = policy(Batch(obs=obs_B) if mask_BA is None else Batch(obs=obs_B, mask=mask_BA))
        if not policy.action_map.is_discrete:
            acts = policy.map_action(out.act.cpu().numpy())
            return torch.as_tensor(acts.reshape(len(acts), -1), device=policy.device, dtype=torch.get_default_dtype())
        num_actions = policy.action_map.act_dim
        chosen_BA = out.probs if "probs" in out else F.one_hot(out.act, num_actions)
        available_BA = torch.as_tensor(np.ones((len(obs_B), num_actions)) if mask_BA is None else mask_BA)
        return with_exploration(chosen_BA, available_BA.to(policy.device, torch.bool), policy.hp["eval_eps"])

    return map_batches(actions, obs, mask)


def with_exploration(pi_BA: Tensor, available_BA: Tensor, epsilon: Tensor) -> Tensor:
    """(1 - epsilon) pi(a|s) + epsilon / number of available actions, 0 for all others; (B, A)."""
    num_available_B1 = available_BA.sum(-1, keepdim=True).clamp(min=1)  # 0 where an episode has ended
    return (1 - epsilon) * pi_BA + epsilon * available_BA / num_available_B1
