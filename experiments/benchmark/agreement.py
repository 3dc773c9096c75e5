"""Whether a device computes what the processor computes in float64, from the same weights, minibatches and noise."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

from bcq_exp.engine.population import Population
from experiments.benchmark.cases import Case, population, typed

NUM_MEMBERS = 3
NUM_UPDATES = 20
EPS = "optimizer.eps=1e-3"  # where gradients cancel, Adam with a smaller one makes a whole step of a rounding error


Drawn = tuple[Tensor, list[dict[str, Tensor]]]
"""Rows (P, B) of an update, and the noise of each stage, (P, B, ...) by name."""


class Draws:
    """Draws of another population for members of a population on the processor, in place of their `Streams`.

    Args:
        drawn: of each update.
        members: slice of the population's.
    """

    def __init__(self, drawn: Sequence[Drawn], members: slice) -> None:
        self.drawn, self.members = drawn, members

    def at(self, update: int) -> Drawn:
        """Rows and noise of an update, as `Streams.at` gives them."""
        rows, noise = self.drawn[update]
        return self._own(rows), [{name: self._own(tensor) for name, tensor in stage.items()} for stage in noise]

    def _own(self, tensor: Tensor) -> Tensor:
        own = tensor[self.members].cpu()
        return own.double() if own.is_floating_point() else own


def drawn_by(source: Population, update: int) -> Drawn:
    """What all members of a population draw for an update."""
    rows, noise = zip(*(part.streams.at(update) for part in source.parts), strict=True)
    stages = [
        {name: torch.cat([part[name] for part in stage]) for name in stage[0]} for stage in zip(*noise, strict=True)
    ]
    return torch.cat(rows), stages


@torch.no_grad()
def difference(case: Case, device: str, dtype: torch.dtype, *overrides: str) -> float:
    """Train a small population there and here; returns the largest difference of a weight or a target's weight.

    Args:
        case: whose update is made.
        device: as torch names it.
        dtype: of the numbers on the device.
        overrides: of the configuration there.
    """
    columns = case.columns()
    with default(dtype):
        there = typed(case.config(f"device={device}", EPS, *overrides))
        on_device, source = (population(there, columns, NUM_MEMBERS) for _ in range(2))
        drawn = [drawn_by(source, update) for update in range(NUM_UPDATES)]
    with default(torch.float64):
        here = population(typed(case.config("device=cpu", "compile=never", EPS)), columns, NUM_MEMBERS)
        stacks = ((here.nets, on_device.nets), (here.slow, on_device.slow))
        pairs = [(mine.tensors[key], tensor) for mine, other in stacks for key, tensor in other.tensors.items()]
        for mine, other in pairs:
            mine.copy_(other)
        for part in here.parts:
            part.streams = Draws(drawn, part.members)  # type: ignore[assignment]
        here.advance(NUM_UPDATES)
    with default(dtype):
        on_device.advance(NUM_UPDATES)
    return max(float((mine - other.cpu()).abs().max()) for mine, other in pairs)


@contextmanager
def default(dtype: torch.dtype) -> Iterator[None]:
    """Have new numbers be of this type."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)
