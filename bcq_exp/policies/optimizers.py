"""Optimizers of a lone policy: the check of what they hold, and one gradient step."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer


def unique(optimizers: Iterable[Optimizer]) -> list[Optimizer]:
    """Each optimizer once, in order."""
    return list({id(optimizer): optimizer for optimizer in optimizers}.values())


def regrouped(saved: Sequence[Mapping[str, Any]], optimizers: Sequence[Optimizer]) -> list[dict[str, Any]]:
    """Saved states for optimizers that divide the same parameters, in the same order, in another way.

    Earlier versions had one optimizer for the networks of a stage, all with one rate, which all of these get.

    Raises:
        ValueError: the numbers of parameters differ.
    """
    states = [each["state"].get(number) for each in saved for number in each["param_groups"][0]["params"]]
    made = [optimizer.state_dict() for optimizer in optimizers]
    num_params = sum(len(each["param_groups"][0]["params"]) for each in made)
    if num_params != len(states):
        raise ValueError(f"the saved optimizers hold {len(states)} parameters, the policy's {num_params}")
    rates = {key: value for key, value in saved[0]["param_groups"][0].items() if key in ("lr", "initial_lr")}
    left = iter(states)
    for each in made:
        group = each["param_groups"][0]
        group |= rates
        each["state"] = {number: state for number in group["params"] if (state := next(left)) is not None}
    return made


def check_held(nets: Mapping[str, nn.Module], optimizers: Mapping[str, Optimizer], trained: Iterable[str]) -> None:
    """Raise ValueError for a trained network with a parameter that its optimizer does not hold."""
    for name in sorted(trained):
        held = {id(param) for group in optimizers[name].param_groups for param in group["params"]}
        lost = [key for key, param in nets[name].named_parameters() if param.requires_grad and id(param) not in held]
        if lost:
            raise ValueError(f"the optimizer of {name} does not hold its parameter {lost[0]}: it would never learn")


def gradient_step(loss: Tensor, modules: Iterable[nn.Module], optimizers: Iterable[Optimizer]) -> None:
    """Differentiate the loss in the modules' parameters alone, a shared one counted once, and step each optimizer.

    A parameter that the loss does not use has gradient zero: recurrent weights, where no state is carried.
    """
    params = list(
        {id(param): param for module in modules for param in module.parameters() if param.requires_grad}.values()
    )
    chosen = unique(optimizers)
    for optimizer in chosen:
        optimizer.zero_grad()
    grads = torch.autograd.grad(loss, params, allow_unused=True, materialize_grads=True)
    for param, grad in zip(params, grads, strict=True):
        param.grad = grad
    for optimizer in chosen:
        optimizer.step()
