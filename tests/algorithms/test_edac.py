import numpy as np
import pytest
import torch

from algorithms import tiny
from algorithms.ensemble_working import NUM_CRITICS, check_update, spread_out
from algorithms.gaussian_working import DATA, MAX_ACTION, NUM_ROWS
from algorithms.golden import Array, Weights, cat, forward
from bcq_exp.algorithms.edac import similarity

ETA, NORM_EPS = 3.0, 1e-10  # the first as in `tiny.CONFIGS`


def slopes(net: Weights, x: Array) -> tuple[Array, list[Array]]:
    """dQ/da of each row, (B, A), and of what each layer puts out before its activation, from the last on."""
    _, inputs = forward(net, x)
    d_outs = [np.ones((len(x), 1))]
    for layer in reversed(range(1, len(inputs))):
        d_outs.append(d_outs[-1] @ net[2 * layer] * (inputs[layer] > 0))
    return (d_outs[-1] @ net[0])[:, tiny.OBS_DIM :], d_outs


def of_slope(net: Weights, x: Array, d_slope: Array) -> Weights:
    """The gradient of sum_B d_slope . dQ/da: rectified layers are linear in the direction d_slope of the action."""
    _, inputs = forward(net, x)
    _, d_outs = slopes(net, x)
    along = cat(np.zeros((len(x), tiny.OBS_DIM)), d_slope)
    grads: Weights = []
    for layer, d_out in enumerate(reversed(d_outs)):
        grads += [d_out.T @ along, np.zeros_like(net[2 * layer + 1])]
        if layer + 1 < len(inputs):
            along = along @ net[2 * layer].T * (inputs[layer + 1] > 0)
    return grads


def penalty(critics: list[Weights]) -> tuple[dict[str, float], list[Weights]]:
    """Equation 4 of arXiv:2110.01548 pair by pair, and the gradient of eta times it."""
    x = cat(DATA["obs"], DATA["act"])
    slope = [slopes(critic, x)[0] for critic in critics]
    size = [np.linalg.norm(each, axis=-1, keepdims=True) for each in slope]
    unit = [each / (length + NORM_EPS) for each, length in zip(slope, size, strict=True)]
    alike = 0.0
    grads = []
    for i, critic in enumerate(critics):
        others = sum(unit[j] for j in range(NUM_CRITICS) if j != i)
        alike += np.sum(unit[i] * others) / (NUM_CRITICS - 1) / NUM_ROWS
        d_unit = ETA * 2 * others / (NUM_CRITICS - 1) / NUM_ROWS
        along = np.sum(slope[i] * d_unit, -1, keepdims=True)
        is_flat = size[i] == 0  # no hidden unit is on, so that the weights leave the slope at zero
        length = np.where(is_flat, 1, size[i])
        d_slope = ~is_flat * (d_unit / (length + NORM_EPS) - slope[i] * along / (length * (length + NORM_EPS) ** 2))
        grads.append(of_slope(critic, x, d_slope))
    return {"similarity": alike}, grads


def test_golden_update() -> None:
    """SAC-N's update with eta times the similarity of the critics' slopes in the dataset's actions."""
    policy = tiny.make_policy("edac", max_action=MAX_ACTION)
    spread_out(policy)
    check_update(policy, penalty)


def test_similarity_by_hand() -> None:
    """Three slopes in two rows: at right angles to each other or opposite, and all along one line.

    The sum over ordered pairs, divided by two, is -1 in the first row (0, 0 and -1) and 3 in the second.
    """
    slope = torch.tensor([[[2.0, 0.0], [1.0, 1.0]], [[0.0, 5.0], [2.0, 2.0]], [[-0.1, 0.0], [9.0, 9.0]]])
    assert similarity(slope[:, :1]).item() == pytest.approx(-1)
    assert similarity(slope[:, 1:]).item() == pytest.approx(3)
    assert similarity(slope).item() == pytest.approx(1)


def test_a_critic_without_slope_is_similar_to_none_and_moves_by_nothing() -> None:
    slope = torch.tensor([[[0.0, 0.0]], [[3.0, 4.0]], [[3.0, 4.0]]], requires_grad=True)
    alike = similarity(slope)
    assert alike.item() == pytest.approx(1)  # one pair, both ways, divided by two
    assert torch.autograd.grad(alike, slope)[0].isfinite().all()


def test_slopes_come_apart_where_it_pays() -> None:
    """From the same weights, 60 updates with and without the penalty."""
    found = {}
    for eta in (0.0, 100.0):
        policy = tiny.make_policy("edac", eta=eta)
        for _ in range(60):
            policy.smoothed_loss.clear()  # so that the moving average is the last value
            found[eta] = policy.learn(DATA).smoothed_loss["similarity"]
    assert found[0.0] > 0.5
    assert found[100.0] < -0.5
