"""The workings that every golden test of a quantile critic shares (arXiv:1710.10044), in numpy.

Axes of quantiles: rows, i, actions.
"""

from collections.abc import Collection, Sequence

import numpy as np

from algorithms import golden
from algorithms.discrete_working import DATA, GAMMA, NUM_ACTIONS
from algorithms.golden import Array, forward


def quantiles(net: golden.Weights, obs: Array, num_quantiles: int) -> Array:
    """theta_i(s, a): the outputs are the actions of the first quantile, then of the second."""
    return forward(net, obs)[0].reshape(len(obs), num_quantiles, NUM_ACTIONS)


def quantile_targets(
    model: golden.Weights,
    target: golden.Weights,
    choices: Sequence[Collection[int]],
    *,
    is_double: bool,
    num_steps: int,
    num_quantiles: int,
) -> Array:
    """y_j of each row, (rows, j): the target network's quantiles of the action whose mean is best."""
    slow, fast = (quantiles(net, DATA["obs_next"], num_quantiles) for net in (target, model))
    ranked = (fast if is_double else slow).mean(1)

    def worth(row: int, j: int) -> float:
        return slow[row, j, max(choices[row], key=lambda act: ranked[row, act])]

    columns = [
        golden.n_step_targets(DATA, lambda row, j=j: worth(row, j), gamma=GAMMA, num_steps=num_steps)  # type: ignore[misc]
        for j in range(num_quantiles)
    ]
    return np.stack(columns, -1)


def quantile_loss(theta: Array, act: Array, y: Array, kappa: float) -> tuple[float, Array]:
    """Equations 9 and 10, one pair of a predicted and a target quantile after the other, and the gradient."""
    num_rows, num_quantiles, _ = theta.shape
    loss, d_theta = 0.0, np.zeros_like(theta)
    for row in range(num_rows):
        for i in range(num_quantiles):
            for sample in y[row]:
                u = sample - theta[row, i, act[row]]
                weight = abs((2 * i + 1) / (2 * num_quantiles) - (u < 0)) / y.shape[1] / num_rows
                loss += weight * (u**2 / 2 if abs(u) <= kappa else kappa * (abs(u) - kappa / 2))
                d_theta[row, i, act[row]] -= weight * np.clip(u, -kappa, kappa)
    return loss, d_theta
