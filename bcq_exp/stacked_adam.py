"""Adam and AdamW of P members at once.

Shape suffix: P members.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Adam, AdamW, Optimizer
from torch.optim.adam import adam

from bcq_exp.stacking import expand, stack


class StackedAdam:
    """torch's functional Adam at rate 1, scaled by each member's rate: its step is linear in the rate.

    The moments in the members' optimizers become views of the stacked ones, so that an optimizer saved or used alone
    goes on where its member stands.

    Args:
        params: each trained parameter of all members, by key.
        optimizers: what holds each of them, by the same key; members may differ in rate and weight decay.

    Raises:
        ValueError: an optimizer is neither Adam nor AdamW, has several parameter groups, or differs from its peers.
    """

    def __init__(
        self, params: Mapping[str, Sequence[nn.Parameter]], optimizers: Mapping[str, Sequence[Optimizer]]
    ) -> None:
        self.optimizers = optimizers
        peers = [optimizer for held in optimizers.values() for optimizer in held]
        kinds = {type(optimizer) for optimizer in peers}
        if len(kinds) != 1 or not kinds <= {Adam, AdamW}:
            raise ValueError(f"optimizers are {', '.join(kind.__name__ for kind in kinds)}; allowed: all Adam or AdamW")
        groups = [group for optimizer in peers for group in optimizer.param_groups]
        if len(groups) != len(peers):
            raise ValueError("an optimizer has several parameter groups: one for each optimizer is allowed")
        settings = {(group["betas"], group["eps"], group["amsgrad"], group["maximize"]) for group in groups}
        if len(settings) != 1 or next(iter(settings))[2:] != (False, False):
            raise ValueError(f"optimizers differ in betas or eps, or use amsgrad or maximize: {settings}")
        (self.beta1, self.beta2), self.eps = groups[0]["betas"], groups[0]["eps"]
        self.is_decoupled, self.has_decay = kinds == {AdamW}, any(group["weight_decay"] for group in groups)
        self.moments = {key: self._moments(params[key], optimizers[key]) for key in params}
        self.rates = {key: self._numbers(key, "lr") for key in params}
        self.decays = {key: self._numbers(key, "weight_decay") for key in params}

    def _moments(
        self, params: Sequence[nn.Parameter], optimizers: Sequence[Optimizer]
    ) -> tuple[Tensor, Tensor, Tensor]:
        """First and second moment (P, ...), and the number of steps, which all members share."""
        states: list[dict[str, Any]] = [opt.state[param] for param, opt in zip(params, optimizers, strict=True)]
        for param, state in zip(params, states, strict=True):
            if not state:
                state.update(step=torch.zeros(()), exp_avg=torch.zeros_like(param), exp_avg_sq=torch.zeros_like(param))
            state["step"] = states[0]["step"]
        return stack([s["exp_avg"] for s in states]), stack([s["exp_avg_sq"] for s in states]), states[0]["step"]

    def _numbers(self, key: str, name: str) -> Tensor:
        device = self.moments[key][0].device
        values = [optimizer.param_groups[0][name] for optimizer in self.optimizers[key]]
        return torch.tensor(values, dtype=torch.get_default_dtype(), device=device)

    def read_rates(self) -> None:
        """Take the rates that schedules have set in the members' optimizers."""
        for key, rate_P in self.rates.items():
            rate_P.copy_(self._numbers(key, "lr"))

    def step(self, keys: Sequence[str], params: Mapping[str, Tensor], grads: Mapping[str, Tensor]) -> None:
        """Move stacked parameters (P, ...) against their gradients, in place."""
        decays = {key: expand(self.decays[key], params[key]) for key in keys}
        rates = {key: expand(self.rates[key], params[key]) for key in keys}
        joins = self.has_decay and not self.is_decoupled
        steps = [torch.zeros_like(params[key]) for key in keys]
        adam(
            steps,
            [grads[key] + decays[key] * params[key] if joins else grads[key] for key in keys],
            [self.moments[key][0] for key in keys],
            [self.moments[key][1] for key in keys],
            [],
            [self.moments[key][2] for key in keys],
            foreach=True,
            capturable=torch.compiler.is_compiling(),
            amsgrad=False,
            beta1=self.beta1,
            beta2=self.beta2,
            lr=1.0,
            weight_decay=0.0,
            eps=self.eps,
            maximize=False,
        )
        for key, step in zip(keys, steps, strict=True):
            if self.has_decay and self.is_decoupled:
                params[key].mul_(1 - rates[key] * decays[key])
            params[key].add_(rates[key] * step)
