"""Probabilities of the recorded actions under the behaviour policy, estimated by an imitator of the dataset.

Shape suffixes: N rows of the dataset, B batch, A number of actions.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn, no_grad

from bcq_exp.algorithms import REGISTRY
from bcq_exp.algorithms.bc_discrete import DiscreteBCConfig
from bcq_exp.data import ReplayBuffer
from bcq_exp.networks import Sizes
from bcq_exp.ope.batches import map_batches
from bcq_exp.ope.fitting import Fitting, as_seen
from bcq_exp.ops.discrete import action_probabilities, take_action


def log_propensities(
    buffer: ReplayBuffer,
    obs: Any,
    mask: Any,
    make_imitator: Callable[[], nn.Module],
    fitting: Fitting,
    sizes: Sizes,
    description: str,
) -> NDArray[np.float64]:
    """Estimate log b(a|s) of each recorded action, (N,), by classification of the same dataset (`bc_discrete`).

    Args:
        buffer: the dataset, its actions from 0 on.
        obs, mask: its observations (N, *S) and available actions (N, A), the latter None where all are.
        make_imitator: makes a network from observations to logits (A,).
        fitting: how the imitator is fitted.
        sizes: of the environment.
        description: shown with the progress.

    Raises:
        ValueError: the imitator's loss is not finite.
    """
    cfg = DiscreteBCConfig(name="bc_discrete", eval_eps=0.0)
    algorithm = REGISTRY[cfg.name].build(cfg, sizes)
    policy = fitting.initialised(algorithm, "imitator", make_imitator, {}, {"eval_eps": cfg.eval_eps})
    if fitting.fit([policy], buffer, description) != [True]:
        raise ValueError("the imitator's loss is not finite; give a smaller optimizer.lr")

    def log_probability(obs_B: Any, mask_BA: Any, act_B: Tensor) -> Tensor:
        available_BA = None if mask_BA is None else torch.as_tensor(mask_BA, device=policy.device)
        probs_BA = action_probabilities(policy.nets["imitator"](as_seen(policy, obs_B)).double(), available_BA)
        return take_action(probs_BA, act_B).log()

    with no_grad():
        return map_batches(log_probability, obs, mask, buffer.act).cpu().numpy()
