"""Adam and AdamW of P members at once.

Shape suffix: P members.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Self

import torch
from torch import Tensor, nn
from torch.optim import Adam, AdamW, Optimizer

from bcq_exp.engine.stacking import expand, stack

STEPS = 64  # steps whose corrections go to the device in one copy


class Moments(NamedTuple):
    """What Adam keeps and reads of each parameter, stacked, by its key.

    Attributes:
        means, squares: moving means of the gradient and of its square, (P, ...).
        rates, decays: learning rates and weight decays, (P,).
    """

    means: Mapping[str, Tensor]
    squares: Mapping[str, Tensor]
    rates: Mapping[str, Tensor]
    decays: Mapping[str, Tensor]

    def of(self, members: slice) -> Self:
        """Those of some members, as views."""
        return type(self)(*({key: tensor[members] for key, tensor in group.items()} for group in self))


class Rule(NamedTuple):
    """What all members have in common in the step of a parameter.

    Attributes:
        betas, eps: as torch has them.
        is_decoupled: whether weight decay stays out of the gradient, as in AdamW.
        has_decay: whether a member has weight decay.
    """

    betas: tuple[float, float]
    eps: float
    is_decoupled: bool
    has_decay: bool


class Corrections:
    """The corrections of a group's next steps, 1 / (1 - beta1^t) and 1 / sqrt(1 - beta2^t).

    Args:
        num_steps: taken before.
        betas: each pair of beta1 and beta2 that the group's optimizers have.
        like: a tensor of the wanted type, on the device.
    """

    def __init__(self, num_steps: int, betas: Sequence[tuple[float, float]], like: Tensor) -> None:
        self.num_steps, self.betas, self.like = num_steps, betas, like
        self.coming: Sequence[Tensor] = ()
        self.first = 0  # the step of the first of them

    def step(self) -> Tensor:
        """Count a step; both of its corrections for each pair of betas, (number, 2)."""
        self.num_steps += 1
        if not self.first <= self.num_steps < self.first + len(self.coming):
            self.first = self.num_steps
            steps = range(self.first, self.first + STEPS)
            values = [
                [[1 / (1 - beta1**step), (1 - beta2**step) ** -0.5] for beta1, beta2 in self.betas] for step in steps
            ]
            self.coming = torch.tensor(values, dtype=torch.float64).to(self.like).unbind()
        return self.coming[self.num_steps - self.first]


class StackedAdam:
    """Adam (arXiv:1412.6980, algorithm 1) with each member's rates, in the form of `torch.optim.Adam`.

    m <- beta1 m + (1 - beta1) g,  v <- beta2 v + (1 - beta2) g^2
    w <- w - rate m / (1 - beta1^t) / (sqrt(v) / sqrt(1 - beta2^t) + eps)

    `Corrections` counts the steps of some members. Its two numbers are computed outside of `step`, which is compiled:
    there powers would be computed again for every few weights, and cost more than all else.

    The moments in the members' optimizers become views of the stacked ones, and `publish` writes the counts there, so
    that an optimizer that is saved or used alone resumes where its member is.

    Args:
        groups: keys of the parameters that step together; two stages that take turns have the same group.
        params: each trained parameter of all members, by key.
        optimizers: of each of them, by the same key; members may differ in rate and weight decay, parameters in all.

    Raises:
        ValueError: an optimizer is neither Adam nor AdamW, has several parameter groups, or differs from those of the
            other members; or two groups have some parameters in common, but not all.
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
        self.rules = {key: _rule(peers) for key, peers in optimizers.items()}
        self.betas = [list(dict.fromkeys(self.rules[key].betas for key in keys)) for keys in groups]
        self.states = {
            key: [_state(optimizer, param) for optimizer, param in zip(optimizers[key], params[key], strict=True)]
            for key in params
        }
        means = {key: stack([state["exp_avg"] for state in states]) for key, states in self.states.items()}
        squares = {key: stack([state["exp_avg_sq"] for state in states]) for key, states in self.states.items()}
        rates, decays = (
            {key: means[key].new_tensor(self._numbers(key, name)) for key in params} for name in ("lr", "weight_decay")
        )
        self.moments = Moments(means, squares, rates, decays)

    def _numbers(self, key: str, name: str) -> list[float]:
        return [optimizer.param_groups[0][name] for optimizer in self.optimizers[key]]

    def corrections(self, members: slice) -> list[Corrections]:
        """Those of each group for some members, from their counts on; equal groups have one in common."""
        made = [
            Corrections(int(self.states[keys[0]][members][0]["step"]), betas, self.moments.means[keys[0]])
            for keys, betas in zip(self.groups, self.betas, strict=True)
        ]
        return [made[first] for first in self.first]

    def read_rates(self, members: slice) -> None:
        """Take the rates that schedules have set in some members' optimizers."""
        for key, rate_P in self.moments.rates.items():
            rate_P[members] = rate_P.new_tensor(self._numbers(key, "lr")[members])

    def step(
        self,
        group: int,
        params: Mapping[str, Tensor],
        grads: Mapping[str, Tensor],
        moments: Moments,
        corrections: Tensor,
    ) -> None:
        """Move the group's stacked parameters (P, ...) of some members against their gradients, in place.

        Args:
            group: these.
            params: and others.
            grads: of the group's.
            moments: of the same members.
            corrections: of this step for each pair of betas, (number, 2).
        """
        for key in self.groups[group]:
            (beta1, beta2), eps, is_decoupled, has_decay = self.rules[key]
            correct_mean, correct_root = corrections[self.betas[group].index((beta1, beta2))].unbind()
            param, grad, mean, square = params[key], grads[key], moments.means[key], moments.squares[key]
            rate = expand(moments.rates[key], param)
            if has_decay and is_decoupled:
                param.mul_(1 - rate * expand(moments.decays[key], param))
            elif has_decay:
                grad = grad + expand(moments.decays[key], param) * param
            mean.lerp_(grad, 1 - beta1)
            square.mul_(beta2).addcmul_(grad, grad, value=1 - beta2)
            param.sub_(rate * correct_mean * mean / (square.sqrt() * correct_root + eps))

    def publish(self, members: slice, corrections: Sequence[Corrections]) -> None:
        """Write the counts of steps into some members' optimizers."""
        for keys, counted in zip(self.groups, corrections, strict=True):
            for key in keys:
                for state in self.states[key][members]:
                    state["step"].fill_(counted.num_steps)


def _rule(peers: Sequence[Optimizer]) -> Rule:
    """The rule of a parameter's optimizers, one a member; raises ValueError as `StackedAdam`."""
    kinds = {type(optimizer) for optimizer in peers}
    if len(kinds) != 1 or not kinds <= {Adam, AdamW}:
        raise ValueError(f"optimizers are {', '.join(kind.__name__ for kind in kinds)}; allowed: all Adam or AdamW")
    held = [group for optimizer in peers for group in optimizer.param_groups]
    if len(held) != len(peers):
        raise ValueError("an optimizer has several parameter groups: one for each optimizer is allowed")
    settings = {(group["betas"], group["eps"], group["amsgrad"], group["maximize"]) for group in held}
    if len(settings) != 1 or next(iter(settings))[2:] != (False, False):
        raise ValueError(f"optimizers differ in betas or eps, or use amsgrad or maximize: {settings}")
    (betas, eps, _, _) = next(iter(settings))
    return Rule(betas, eps, kinds == {AdamW}, any(group["weight_decay"] for group in held))


def _state(optimizer: Optimizer, param: nn.Parameter) -> dict[str, Any]:
    """The optimizer's state of a parameter; made as torch makes it where it has not stepped yet."""
    state: dict[str, Any] = optimizer.state[param]
    if not state:
        state.update(step=torch.zeros(()), exp_avg=torch.zeros_like(param), exp_avg_sq=torch.zeros_like(param))
    return state
