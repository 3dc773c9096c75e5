import pytest
import torch
from torch import nn
from torch.optim import SGD, Adam

from bcq_exp.policies.optimizers import check_held, gradient_step, regrouped, unique


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


def test_states_of_an_optimizer_of_two_networks_are_divided_among_the_optimizers_of_each() -> None:
    first, second = nn.Linear(2, 1), nn.Linear(1, 1)
    params = [*first.parameters(), *second.parameters()]
    together = Adam(params, lr=0.1)
    for param in params:
        param.grad = torch.full_like(param, 3.0)
    params[-1].grad = None  # it has not stepped yet
    together.step()
    together.param_groups[0]["lr"] = 0.05  # as a schedule does
    apart = [Adam(net.parameters(), lr=0.1, eps=0.5) for net in (first, second)]
    for optimizer, state in zip(apart, regrouped([together.state_dict()], apart), strict=True):
        optimizer.load_state_dict(state)
    for optimizer, held in zip(apart, (params[:2], params[2:3]), strict=True):
        assert (optimizer.param_groups[0]["lr"], optimizer.param_groups[0]["eps"]) == (0.05, 0.5)
        assert list(optimizer.state) == held
        for param in held:
            assert torch.equal(optimizer.state[param]["exp_avg"], together.state[param]["exp_avg"])
    with pytest.raises(ValueError, match="hold 4 parameters, the policy's 2"):
        regrouped([together.state_dict()], apart[:1])
