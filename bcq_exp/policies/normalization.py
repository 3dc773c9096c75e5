"""Policies that standardise observations by the dataset's statistics.

The statistics are buffers beside the hyperparameters: checkpoints keep them, and a population stacks them. Callers pass
observations in the environment's units, as to any policy.

Shape suffix: S features of an observation.
"""

from collections.abc import Mapping
from dataclasses import replace

import torch
from numpy.typing import ArrayLike
from torch import Tensor

from bcq_exp.algorithms.form import Act, Algorithm, Loss, Nets, Tensors
from bcq_exp.ops.standardize import standardize
from bcq_exp.policies.base import Policy

STATISTICS = ("obs_mean", "obs_scale")


def normalize_observations(policy: Policy, mean: ArrayLike, std: ArrayLike, *, eps: float) -> None:
    """Make a policy learn from and act on (obs - mean) / (std + eps).

    Call it on a fresh policy too before loading a checkpoint, which then replaces the statistics.

    Args:
        policy: on observations of one axis; changed in place.
        mean, std: of each feature of the dataset's observations, (S,), as `observation_statistics` gives them.
        eps: added to the deviation, above 0: a feature that never changes in the dataset is 0 and not undefined.

    Raises:
        ValueError: the policy normalises already, the statistics have another shape, or `eps` is not above 0.
    """
    mean_S, std_S = (torch.as_tensor(value, dtype=torch.get_default_dtype()) for value in (mean, std))
    if "obs_mean" in policy.algorithm.statistics:
        raise ValueError("the policy normalises its observations already; a second time would shift them again")
    if mean_S.ndim != 1 or mean_S.shape != std_S.shape:
        raise ValueError(f"mean has shape {tuple(mean_S.shape)}, std {tuple(std_S.shape)}; allowed: (S,) both")
    if not eps > 0:
        raise ValueError(f"eps={eps} is not above 0: features that never change would be divided by zero")
    policy.algorithm = normalizing(policy.algorithm)
    for name, value in zip(STATISTICS, (mean_S, std_S + eps), strict=True):
        policy.register_buffer(name, value.to(policy.device))


def normalizing(algorithm: Algorithm) -> Algorithm:
    """The same algorithm on standardised observations; its `hp` holds the statistics too."""
    return replace(
        algorithm,
        stages=tuple(replace(stage, loss=_loss(stage.loss)) for stage in algorithm.stages),
        act=_act(algorithm.act),
        diagnose=algorithm.diagnose and _act(algorithm.diagnose),
        statistics=(*algorithm.statistics, *STATISTICS),
    )


def standardized(batch: Tensors, hp: Tensors) -> Mapping[str, Tensor]:
    """The batch with `obs` and `obs_next` standardised; unchanged where `hp` has no statistics."""
    if "obs_mean" not in hp:
        return batch
    observations = {name: batch[name] for name in ("obs", "obs_next") if name in batch}
    return {**batch, **{name: standardize(obs, hp["obs_mean"], hp["obs_scale"]) for name, obs in observations.items()}}


def _loss(loss: Loss) -> Loss:
    def on_standardized(
        nets: Nets, targets: Nets, batch: Tensors, noise: Tensors, hp: Tensors
    ) -> tuple[Tensor, Tensors]:
        return loss(nets, targets, standardized(batch, hp), noise, hp)

    return on_standardized


def _act(act: Act) -> Act:
    def on_standardized(nets: Nets, batch: Tensors, noise: Tensors, hp: Tensors) -> dict[str, Tensor]:
        return act(nets, standardized(batch, hp), noise, hp)

    return on_standardized
