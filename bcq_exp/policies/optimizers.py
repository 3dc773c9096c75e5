"""Optimizers of a lone policy: the check of what they hold, and one gradient step."""

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn
from torch.optim import Optimizer


def unique(optimizers: Iterable[Optimizer]) -> list[Optimizer]:
    """Each optimizer once, in order."""
    return list({id(optimizer): optimizer for optimizer in optimizers}.values())


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
