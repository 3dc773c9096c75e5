import pytest
import torch
from torch import nn
from torch.optim import SGD

from bcq_exp.policies.optimizers import check_held, gradient_step, unique


def test_unique_keeps_each_optimizer_once_in_order() -> None:
    first, second = (SGD(nn.Linear(1, 1).parameters()) for _ in range(2))
    assert unique([first, second, first]) == [first, second]


def test_check_held_names_what_would_never_learn() -> None:
    held, lost = nn.Linear(1, 1), nn.Linear(1, 1)
    nets, optimizer = {"critic": nn.Sequential(held, lost)}, SGD(held.parameters())
    with pytest.raises(ValueError, match=r"optimizer of critic does not hold its parameter 1\.weight"):
        check_held(nets, {"critic": optimizer}, ["critic"])
    check_held(nets, {}, [])
    lost.requires_grad_(False)
    check_held(nets, {"critic": optimizer}, ["critic"])


def test_gradient_step_by_hand() -> None:
    trained, fixed, unused, other = (nn.Linear(1, 1, bias=False) for _ in range(4))
    for module, weight in ((trained, 3.0), (fixed, 2.0), (unused, 5.0), (other, 7.0)):
        module.weight.data.fill_(weight)
    optimizer = SGD(nn.ModuleList([trained, unused, other]).parameters(), lr=0.1)
    for module in (trained, other):  # left over from another stage
        module.weight.grad = torch.full((1, 1), 100.0)
    loss = fixed(trained(torch.ones(1, 1))).square().sum()  # 4 w^2, whose derivative is 24 at w = 3
    gradient_step(loss, [trained, trained, unused], [optimizer, optimizer])
    assert trained.weight.item() == pytest.approx(3 - 0.1 * 24)
    assert fixed.weight.grad is None
    assert (unused.weight.item(), other.weight.item()) == (5, 7)
