"""Optimizers and learning-rate schedules by name, and the schemas of their keys."""

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, replace
from typing import Self

from torch import nn
from torch.optim import Adam, AdamW, Optimizer
from torch.optim.lr_scheduler import CosineAnnealingLR, LinearLR, LRScheduler

from bcq_exp.fields import one_of, within

# Weight decay joins the gradient in adam (arXiv:1412.6980), and not in adamw (arXiv:1711.05101).
OPTIMIZERS: dict[str, type[Adam] | type[AdamW]] = {"adam": Adam, "adamw": AdamW}
# The rate of each update, from the optimizer's own down to zero after the number of updates.
DECAYS: dict[str, Callable[[Optimizer, int], LRScheduler]] = {
    "linear": lambda optimizer, num: LinearLR(optimizer, start_factor=1.0, end_factor=0.0, total_iters=num),
    "cosine": lambda optimizer, num: CosineAnnealingLR(optimizer, T_max=num),
}


@dataclass(kw_only=True)
class RoleConfig:
    """The keys of a role in `algorithm.optimizers`; null is the value of the group `optimizer`."""

    lr: float | None = within(0, is_low_open=True)
    weight_decay: float | None = within(0)
    betas: tuple[float, float] | None
    eps: float | None = within(0, is_low_open=True)
    lr_decay: str | None = one_of(*DECAYS)


@dataclass(kw_only=True)
class OptimizerConfig:
    """The group `optimizer`: of every network, but for what its role has of its own."""

    name: str = one_of(*OPTIMIZERS)
    lr: float = within(0, is_low_open=True)
    betas: tuple[float, float]
    eps: float = within(0, is_low_open=True)
    weight_decay: float = within(0)
    lr_decay: str | None = one_of(*DECAYS)

    def of_role(self, role: RoleConfig) -> Self:
        """This with the values that a role has of its own."""
        return replace(self, **{key: value for key, value in asdict(role).items() if value is not None})

    def make(self, params: Iterable[nn.Parameter]) -> Optimizer:
        """An optimizer of the trained parameters."""
        make = OPTIMIZERS[self.name]
        return make(params, lr=self.lr, betas=self.betas, eps=self.eps, weight_decay=self.weight_decay)

    def schedule(self, optimizer: Optimizer, num_updates: int) -> LRScheduler | None:
        """The schedule of its rate over `num_updates`; None where the rate is constant."""
        return None if self.lr_decay is None else DECAYS[self.lr_decay](optimizer, num_updates)


def betas_errors(config: OptimizerConfig | RoleConfig, prefix: str) -> list[str]:
    """A sentence where the betas are not two numbers from 0 to below 1; `prefix` begins its key."""
    betas = config.betas
    if betas is None or (len(betas) == 2 and all(0 <= beta < 1 for beta in betas)):
        return []
    return [f"{prefix}betas={list(betas)}; allowed: two numbers from 0 to below 1"]
