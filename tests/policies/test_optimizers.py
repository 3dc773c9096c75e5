from collections.abc import Callable, Iterable
from functools import partial

import pytest
import torch
from torch import nn
from torch.optim import SGD, Adam, AdamW, Optimizer, RMSprop

from bcq_exp.policies.optimizers import check_held, gradient_step, like, unique


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


@pytest.mark.parametrize(
    "make",
    [
        partial(SGD, lr=0.3, momentum=0.9, nesterov=True),
        partial(Adam, lr=0.3, betas=(0.5, 0.6), eps=1e-3, weight_decay=0.1, amsgrad=True),
        partial(AdamW, lr=0.3, betas=(0.5, 0.6), weight_decay=0.1),
        partial(RMSprop, lr=0.3, alpha=0.5, centered=True),
    ],
)
def test_like_has_the_same_kind_and_settings(make: Callable[[Iterable[nn.Parameter]], Optimizer]) -> None:
    given = make(nn.Linear(1, 1).parameters())
    torch.optim.lr_scheduler.LinearLR(given, start_factor=0.5)
    params = list(nn.Linear(1, 1).parameters())
    made = like(given, params)
    assert type(made) is type(given)
    (group,), (wanted,) = made.param_groups, given.param_groups
    assert all(held is param for held, param in zip(group["params"], params, strict=True))
    assert {key: group[key] for key in group if key != "params"} == {
        key: wanted[key] for key in wanted if key not in ("params", "initial_lr")
    }
    assert not made.state


def test_like_refuses_several_groups() -> None:
    given = SGD([{"params": nn.Linear(1, 1).parameters(), "lr": lr} for lr in (0.1, 0.2)])
    with pytest.raises(ValueError, match=r"several parameter groups: pass critic2 and critic2_optim"):
        like(given, nn.Linear(1, 1).parameters())
