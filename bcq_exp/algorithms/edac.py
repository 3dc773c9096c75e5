"""EDAC (arXiv:2110.01548, section 4): SAC-N whose critics learn to rise in different directions of the action.

Where all critics rise along the same direction from an action of the dataset, the smallest of them does too, and the
policy follows it out of the data; with directions that differ, fewer critics make the smallest one fall. See `sac_n`
for the rest and for departures.

Shape suffixes: N critics, B batch, A action.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.func import grad

from bcq_exp.algorithms import sac_n
from bcq_exp.algorithms.definition import Definition
from bcq_exp.algorithms.form import Algorithm, Nets, Tensors
from bcq_exp.fields import within
from bcq_exp.networks import Sizes

NORM_EPS = 1e-10  # beside a slope's length: the published code, sac.py

SWEPT = sac_n.SWEPT | {"eta"}


@dataclass(kw_only=True)
class EDACConfig(sac_n.SACNConfig):
    """Keys of `conf/algorithm/edac.yaml`."""

    eta: float = within(0)


def similarity(slope_NBA: Tensor) -> Tensor:
    """mean_B sum_{i != j} cos(slope_i, slope_j) / (N - 1), 0-d: N times the mean over pairs    (section 4, eq. 4).

    The sum over pairs of unit vectors is |sum_i u_i|^2 - sum_i |u_i|^2. A slope of length 0 is similar to none.
    """
    unit_NBA = slope_NBA / (torch.linalg.vector_norm(slope_NBA, dim=-1, keepdim=True) + NORM_EPS)
    pairs_B: Tensor = unit_NBA.sum(0).square().sum(-1) - unit_NBA.square().sum((0, -1))
    return pairs_B.mean() / (len(slope_NBA) - 1)


def from_config(cfg: EDACConfig, sizes: Sizes) -> Algorithm:
    """SAC-N as stages, with the similarity of slopes in the critics' loss."""
    num_critics, max_action = cfg.num_critics, sizes.max_action

    def critic_loss(nets: Nets, targets: Nets, batch: Tensors, noise: Tensors, hp: Tensors) -> tuple[Tensor, Tensors]:
        """SAC-N's regression + eta similarity of the slopes of Q_j(s, a) in the dataset's actions    (algorithm 1)."""
        y_B = sac_n.soft_target(nets, targets, batch, noise, hp, max_action)

        def values(act_NBA: Tensor) -> tuple[Tensor, Tensor]:
            q_NB: Tensor = nets["critics"](batch["obs"], act_NBA)
            return q_NB.sum(), q_NB

        slope_NBA, q_NB = grad(values, has_aux=True)(batch["act"].expand(num_critics, -1, -1))
        loss, metrics = sac_n.regression(q_NB, y_B)
        alike = similarity(slope_NBA)
        return loss + hp["eta"] * alike, {**metrics, "similarity": alike}

    return sac_n.build(critic_loss, sizes, SWEPT)


networks = sac_n.networks

DEFINITION = Definition(EDACConfig, from_config, networks, SWEPT, sac_n.ROLES)
