import copy

import pytest
import torch
from torch import nn
from torch.optim import SGD, Adam, AdamW

from bcq_exp.engine.stacked_adam import StackedAdam
from bcq_exp.engine.stacking import stack


@pytest.mark.parametrize("kind", [Adam, AdamW])
def test_members_step_as_torchs_own_optimizers_do(kind: type):
    torch.manual_seed(0)
    settings = [{"lr": 0.1, "weight_decay": 0.0}, {"lr": 0.01, "weight_decay": 0.3}, {"lr": 1.0, "weight_decay": 0.1}]
    alone = [nn.Parameter(torch.randn(2, 3)) for _ in settings]
    members = copy.deepcopy(alone)
    lone = [kind([param], **own) for param, own in zip(alone, settings, strict=True)]
    optimizers = [kind([param], **own) for param, own in zip(members, settings, strict=True)]
    stacked = {"w": stack(members)}
    together = StackedAdam([["w"]], {"w": members}, {"w": optimizers})
    counted = together.corrections(slice(0, 1))
    for update in range(5):
        if update == 3:
            for optimizer in (*lone, *optimizers):
                optimizer.param_groups[0]["lr"] *= 0.5
            together.read_rates(slice(0, 3))
        grads = torch.randn(3, 2, 3)
        for param, grad, optimizer in zip(alone, grads, lone, strict=True):
            param.grad = grad
            optimizer.step()
        with torch.no_grad():
            together.step(0, stacked, {"w": grads}, together.moments, counted[0].step())
    together.publish(slice(0, 3), counted)
    for ours, theirs, optimizer, own in zip(members, alone, optimizers, lone, strict=True):
        assert torch.allclose(ours, theirs, atol=1e-6)
        state, expected = optimizer.state[ours], own.state[theirs]
        assert torch.allclose(state["exp_avg_sq"], expected["exp_avg_sq"], atol=1e-6)
        assert float(state["step"]) == 5


def test_parameters_of_one_group_step_by_their_own_optimizers():
    own = {
        "w": {"lr": 0.1, "betas": (0.5, 0.9), "eps": 1e-3, "weight_decay": 0.2},
        "v": {"lr": 0.02, "betas": (0.8, 0.99), "eps": 0.1, "weight_decay": 0.0},
        "u": {"lr": 0.3, "betas": (0.5, 0.9), "eps": 0.5, "weight_decay": 0.0},
    }
    alone = {key: nn.Parameter(torch.randn(2)) for key in own}
    members = {key: [copy.deepcopy(param)] for key, param in alone.items()}
    lone = {key: Adam([alone[key]], **settings) for key, settings in own.items()}
    optimizers = {key: [Adam(members[key], **settings)] for key, settings in own.items()}
    stacked = {key: stack(params) for key, params in members.items()}
    together = StackedAdam([["w", "v", "u"]], members, optimizers)
    (counted,) = together.corrections(slice(0, 1))
    for _ in range(4):
        grads = {key: torch.randn(1, 2) for key in own}
        for key, param in alone.items():
            param.grad = grads[key][0]
            lone[key].step()
        with torch.no_grad():
            together.step(0, stacked, grads, together.moments, counted.step())
    assert all(torch.allclose(members[key][0], alone[key], atol=1e-6) for key in own)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda params: [SGD([params[0]], lr=0.1), SGD([params[1]], lr=0.1)], "SGD"),
        (lambda params: [Adam([params[0]]), AdamW([params[1]])], "Adam"),
        (lambda params: [Adam([params[0]]), Adam([params[1]], betas=(0.5, 0.9))], "betas"),
        (lambda params: [Adam([param], amsgrad=True) for param in params], "amsgrad"),
        (lambda params: [Adam([{"params": [p]}, {"params": [nn.Parameter(torch.ones(1))]}]) for p in params], "groups"),
    ],
)
def test_optimizers_that_cannot_be_stacked_are_refused(make, said: str):
    params = [nn.Parameter(torch.ones(2)) for _ in range(2)]
    with pytest.raises(ValueError, match=said):
        StackedAdam([["w"]], {"w": params}, {"w": make(params)})


def test_groups_that_overlap_in_part_are_refused():
    params = {key: [nn.Parameter(torch.ones(2))] for key in ("w", "v")}
    optimizers = {key: [Adam(held)] for key, held in params.items()}
    with pytest.raises(ValueError, match="two stages train some networks in common"):
        StackedAdam([["w"], ["w", "v"]], params, optimizers)


def test_a_group_that_stands_there_twice_counts_its_steps_together():
    """Two stages that take turns step as one: moments and counts go on."""
    alone = nn.Parameter(torch.ones(2))
    member, lone = copy.deepcopy(alone), Adam([alone], lr=0.1)
    optimizer = Adam([member], lr=0.1)
    stacked = {"w": stack([member])}
    together = StackedAdam([["w"], ["w"]], {"w": [member]}, {"w": [optimizer]})
    counted = together.corrections(slice(0, 1))
    for group in (0, 0, 1, 0, 1):
        alone.grad = torch.randn(2)
        lone.step()
        with torch.no_grad():
            grads = {"w": alone.grad.unsqueeze(0)}
            together.step(group, stacked, grads, together.moments, counted[group].step())
    together.publish(slice(0, 1), counted)
    assert torch.allclose(member, alone, atol=1e-6)
    assert float(optimizer.state[member]["step"]) == 5
