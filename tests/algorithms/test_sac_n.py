import numpy as np
import pytest
import torch

from algorithms import tiny
from algorithms.ensemble_working import check_update, spread_out
from algorithms.gaussian_working import MAX_ACTION
from algorithms.golden import Weights
from bcq_exp.algorithms.sac_n import regression, smallest_value


def nothing(critics: list[Weights]) -> tuple[dict[str, float], list[Weights]]:
    return {}, [[np.zeros_like(array) for array in critic] for critic in critics]


def test_golden_update() -> None:
    """Section 3 of arXiv:2110.01548: the smallest of all critics is in the target and in the policy's loss."""
    policy = tiny.make_policy("sac_n", max_action=MAX_ACTION)
    spread_out(policy)
    check_update(policy, nothing)


def test_losses_by_hand() -> None:
    """Critics worth 1 and 3, 2 and 2 where 2 and 0 are due: errors (1 + 9) / 2 and (0 + 4) / 2 are summed."""
    q, y = torch.tensor([[1.0, 3.0], [2.0, 2.0]], requires_grad=True), torch.tensor([2.0, 0.0])
    loss, metrics = regression(q, y)
    assert (loss.item(), metrics["critic_loss"].item()) == (7, 3.5)
    assert torch.autograd.grad(loss, q)[0].tolist() == [[-1, 3], [0, 2]]
    assert smallest_value({"critics": lambda obs, act: q}, y, y).tolist() == [1, 2]


@torch.no_grad()
def test_more_critics_are_worth_less() -> None:
    """The smallest of the first critics is never below that of all."""
    policy = tiny.make_policy("sac_n", num_critics=20)
    obs, act = torch.randn(50, tiny.OBS_DIM), torch.randn(50, tiny.ACT_DIM)
    values = policy.nets["critics"](obs, act)
    smallest = [float(values[:number].amin(0).mean()) for number in (2, 5, 20)]
    assert smallest == sorted(smallest, reverse=True)
    assert smallest[-1] == pytest.approx(float(smallest_value(policy.losses_view(), obs, act).mean()))
