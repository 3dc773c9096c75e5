"""How well a policy imitates logged actions that it did not learn from, on a fixed sample of rows.

Each is a mean over the rows, and is logged as `imitation/NAME`:

    accuracy           share of logged actions that the policy takes; discrete actions
    imitator_accuracy  share of logged actions that the imitator finds likeliest, where the algorithm has one
    log_likelihood     of the logged action under the imitator, in nats; an action that was never seen weighs most
    error              square distance to the policy's action, a mean over dimensions, in policy units; continuous ones

Shape suffixes: N rows of the dataset, B of the sample, A number of actions or action dimensions.
"""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from bcq_exp.algorithms.diagnostics import of_imitator
from bcq_exp.ops.discrete import among_available, take_action
from bcq_exp.policies.base import Policy
from bcq_exp.policies.diagnosis import num_diagnosed


class Imitation:
    """Judges a policy's current weights, each time on the same rows with the same noise, without exploration.

    Args:
        policy: in evaluation or training mode.
        obs: observations (N, *S), an array or stacks of frames.
        act: logged actions in the environment's units, (N,) or (N, A).
        mask: available actions (N, A), or None where all are.
        seed: of sample and noise.
    """

    def __init__(self, policy: Policy, obs: Any, act: Any, mask: Any, *, seed: int) -> None:
        self.policy, self.seed = policy, seed
        rows_B = np.sort(np.random.default_rng(seed).permutation(len(act))[: num_diagnosed(policy)])
        real = torch.get_default_dtype()
        self.act_B = torch.as_tensor(policy.map_action_inverse(act[rows_B]), device=policy.device)
        self.columns = {"obs": torch.as_tensor(np.asarray(obs[rows_B]), device=policy.device, dtype=real)}
        if mask is not None:
            self.columns["mask"] = torch.as_tensor(np.asarray(mask[rows_B]), device=policy.device)

    @property
    def names(self) -> list[str]:
        """Names of the measures."""
        return list(self._of_first(1))

    def __call__(self) -> dict[str, Tensor]:
        """The measures by name, 0-d; does not wait for the device."""
        return self._of_first(len(self.act_B))

    @torch.inference_mode()
    def _of_first(self, num_rows: int) -> dict[str, Tensor]:
        """The measures on the first rows of the sample."""
        policy, act_B = self.policy, self.act_B[:num_rows]
        columns = {name: column[:num_rows] for name, column in self.columns.items()}
        stream = torch.Generator(policy.device).manual_seed(self.seed)
        noise = {name: draw.sample(len(act_B), stream) for name, draw in policy.algorithm.act_noise.items()}
        out = policy.algorithm.act(policy.losses_view(), columns, noise, policy.hp)
        if not policy.action_map.is_discrete:
            return {"error": (out["act"] - act_B.view_as(out["act"])).square().mean()}
        found = {"accuracy": (out["act"] == act_B).to(columns["obs"].dtype).mean()}
        if "imitation_logits" not in out:
            return found
        logits_BA = among_available(out["imitation_logits"], columns.get("mask"))
        imitator = of_imitator(out["imitation_logits"], {"act": act_B, **columns})
        likelihood = take_action(logits_BA.log_softmax(-1), act_B).mean()
        return found | {"imitator_accuracy": imitator["imitator_accuracy"], "log_likelihood": likelihood}
