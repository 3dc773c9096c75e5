"""Adam and AdamW of P members at once.

Shape suffix: P members.
"""

import copy
from collections.abc import Mapping, Sequence
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.optim import Adam, AdamW, Optimizer

from bcq_exp.engine.stacking import expand, stack

STEPS = 64  # steps whose corrections go to the device in one copy


class StackedAdam:
    """Adam (arXiv:1412.6980, algorithm 1) with each member's rate, in the form of `torch.optim.Adam`.

    m <- beta1 m + (1 - beta1) g,  v <- beta2 v + (1 - beta2) g^2
    w <- w - rate m / (1 - beta1^t) / (sqrt(v) / sqrt(1 - beta2^t) + eps)

    Two calls make one step. `begin` counts it and writes the two corrections as tensors, which `step`, the compiled
    part, reads: powers inside of it would be computed again for every few weights, and cost more than all else.

    The moments in the members' optimizers become views of the stacked ones, and `publish` writes the counts there, so
    that an optimizer that is saved or used alone resumes where its member is.

    Args:
        groups: keys of the parameters that step together; two stages that take turns have the same group.
        params: each trained parameter of all members, by key.
        optimizers: of each of them, by the same key; members may differ in rate and weight decay.

    Raises:
        ValueError: an optimizer is neither Adam nor AdamW, has several parameter groups, or differs from its peers; or
            two groups have some parameters in common, but not all.
    """

    def __init__(
        self,
        groups: Sequence[Sequence[str]],
        params: Mapping[str, Sequence[nn.Parameter]],
        optimizers: Mapping[str, Sequence[Optimizer]],
    ) -> None:
        self.groups, self.optimizers = groups, optimizers
        if sum(len(keys) for keys in {tuple(keys) for keys in groups}) != len(params):
            raise ValueError("two stages train some networks in common: they must train the same networks, or none")
        self.first = [groups.index(keys) for keys in groups]  # the steps of equal groups are counted in one place
        peers = [optimizer for held in optimizers.values() for optimizer in held]
        kinds = {type(optimizer) for optimizer in peers}
        if len(kinds) != 1 or not kinds <= {Adam, AdamW}:
            raise ValueError(f"optimizers are {', '.join(kind.__name__ for kind in kinds)}; allowed: all Adam or AdamW")
        held = [group for optimizer in peers for group in optimizer.param_groups]
        if len(held) != len(peers):
            raise ValueError("an optimizer has several parameter groups: one for each optimizer is allowed")
        settings = {(group["betas"], group["eps"], group["amsgrad"], group["maximize"]) for group in held}
        if len(settings) != 1 or next(iter(settings))[2:] != (False, False):
            raise ValueError(f"optimizers differ in betas or eps, or use amsgrad or maximize: {settings}")
        (self.beta1, self.beta2), self.eps = held[0]["betas"], held[0]["eps"]
        self.is_decoupled, self.has_decay = kinds == {AdamW}, any(group["weight_decay"] for group in held)
        self.states = {
            key: [_state(optimizer, param) for optimizer, param in zip(optimizers[key], params[key], strict=True)]
            for key in params
        }
        self.means = {key: stack([state["exp_avg"] for state in states]) for key, states in self.states.items()}
        self.squares = {key: stack([state["exp_avg_sq"] for state in states]) for key, states in self.states.items()}
        self.num_steps = [int(self.states[keys[0]][0]["step"]) for keys in groups]
        self.corrections = [self.means[keys[0]].new_ones(2) for keys in groups]
        self.coming: list[dict[int, Tensor]] = [{} for _ in groups]  # corrections of the next steps
        self.rates = {key: self._numbers(key, "lr") for key in params}
        self.decays = {key: self._numbers(key, "weight_decay") for key in params}

    def _numbers(self, key: str, name: str) -> Tensor:
        return self.means[key].new_tensor([optimizer.param_groups[0][name] for optimizer in self.optimizers[key]])

    def part(self, members: slice) -> Self:
        """The same for some of the members: views of their moments and rates, and the same counts."""
        view = copy.copy(self)
        view.means, view.squares, view.rates, view.decays = (
            {key: tensor[members] for key, tensor in group.items()}
            for group in (self.means, self.squares, self.rates, self.decays)
        )
        return view

    def tensors(self) -> list[Tensor]:
        """All tensors that a step reads and writes, besides parameters and gradients."""
        groups = (self.means, self.squares, self.rates, self.decays)
        return [*self.corrections, *(tensor for group in groups for tensor in group.values())]

    def read_rates(self) -> None:
        """Take the rates that schedules have set in the members' optimizers."""
        for key, rate_P in self.rates.items():
            rate_P.copy_(self._numbers(key, "lr"))

    def begin(self, group: int) -> None:
        """Count a step of the group, and write its corrections, 1 / (1 - beta1^t) and 1 / sqrt(1 - beta2^t)."""
        self.num_steps[self.first[group]] += 1
        t, written = self.num_steps[self.first[group]], self.corrections[group]
        if t not in self.coming[group]:
            steps = range(t, t + STEPS)
            corrections = [[1 / (1 - self.beta1**step), (1 - self.beta2**step) ** -0.5] for step in steps]
            coming = torch.tensor(corrections, dtype=torch.float64).to(written)
            self.coming[group] = dict(zip(steps, coming.unbind(), strict=True))
        written.copy_(self.coming[group][t])

    def step(self, group: int, params: Mapping[str, Tensor], grads: Mapping[str, Tensor]) -> None:
        """Move the group's stacked parameters (P, ...) against their gradients, in place."""
        correct_mean, correct_root = self.corrections[group].unbind()
        for key in self.groups[group]:
            param, grad, mean, square = params[key], grads[key], self.means[key], self.squares[key]
            rate = expand(self.rates[key], param)
            if self.has_decay and self.is_decoupled:
                param.mul_(1 - rate * expand(self.decays[key], param))
            elif self.has_decay:
                grad = grad + expand(self.decays[key], param) * param
            mean.lerp_(grad, 1 - self.beta1)
            square.mul_(self.beta2).addcmul_(grad, grad, value=1 - self.beta2)
            param.sub_(rate * correct_mean * mean / (square.sqrt() * correct_root + self.eps))

    def publish(self) -> None:
        """Write the counts of steps into the members' optimizers."""
        for keys, first in zip(self.groups, self.first, strict=True):
            for key in keys:
                for state in self.states[key]:
                    state["step"].fill_(self.num_steps[first])


def _state(optimizer: Optimizer, param: nn.Parameter) -> dict[str, Any]:
    """The optimizer's state of a parameter; made as torch makes it where it has not stepped yet."""
    state: dict[str, Any] = optimizer.state[param]
    if not state:
        state.update(step=torch.zeros(()), exp_avg=torch.zeros_like(param), exp_avg_sq=torch.zeros_like(param))
    return state
