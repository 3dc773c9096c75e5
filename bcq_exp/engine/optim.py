"""Optimizers and learning-rate schedules by name."""

from collections.abc import Callable, Iterable

from torch import nn
from torch.optim import Adam, AdamW, Optimizer
from torch.optim.lr_scheduler import CosineAnnealingLR, LinearLR, LRScheduler

OPTIMIZERS: dict[str, type[Adam] | type[AdamW]] = {"adam": Adam, "adamw": AdamW}
# The rate of each update, from the optimizer's own down to zero after the number of updates.
DECAYS: dict[str, Callable[[Optimizer, int], LRScheduler]] = {
    "linear": lambda optimizer, num: LinearLR(optimizer, start_factor=1.0, end_factor=0.0, total_iters=num),
    "cosine": lambda optimizer, num: CosineAnnealingLR(optimizer, T_max=num),
}


def make_optimizer(
    name: str, params: Iterable[nn.Parameter], *, lr: float, betas: tuple[float, float], eps: float, weight_decay: float
) -> Optimizer:
    """An optimizer of `OPTIMIZERS`.

    Args:
        name: adam (arXiv:1412.6980; weight decay joins the gradient) or adamw (arXiv:1711.05101; it does not).
        params: the trained ones.
        lr, betas, eps, weight_decay: as torch takes them.
    """
    return OPTIMIZERS[name](params, lr=lr, betas=betas, eps=eps, weight_decay=weight_decay)


def make_schedule(name: str | None, optimizer: Optimizer, num_updates: int) -> LRScheduler | None:
    """A schedule of `DECAYS` over `num_updates`; None keeps the rate constant."""
    return None if name is None else DECAYS[name](optimizer, num_updates)
