"""Updates on a GPU: one or several as one launch, whose kernels start without the processor (a CUDA graph)."""

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from bcq_exp.engine.machine import AUTO
from bcq_exp.engine.update import Given, Pattern, State

if TYPE_CHECKING:
    from bcq_exp.engine.compiled import CompiledUpdate

# Updates of a launch, where the setting is auto. One is faster than eight, since kernels take longer than a processor
# needs to launch them: 0.161 ms an update in place of 0.190 for lone discrete BCQ, 0.586 in place of 0.638 for
# continuous BCQ at paper size (NVIDIA H200). More may pay beside a slower processor.
USUAL = 1


def updates_per_launch_of(setting: int | str) -> int:
    """The number of updates that a launch has by a setting, a number or auto."""
    return USUAL if setting == AUTO else int(setting)


Capture = Callable[[Callable[[], None]], Callable[[], None]]
"""Records the kernels that a function starts, and returns a function that starts them again, on the same tensors."""


class LaunchedUpdate:
    """A compiled update whose calls are kept until there are enough for a launch; calls as `Update` does.

    A launch writes what is given to each of its updates into tensors of its own, which never move, and starts the
    kernels of all of them. A sequence of patterns that is met for the first time runs as it is, so that everything is
    compiled and loaded; the second time it is recorded.

    Args:
        step: makes one update.
        size: updates of a launch, 1 or more.
        capture: records a launch.
    """

    def __init__(self, step: "CompiledUpdate", size: int, capture: Capture) -> None:
        self.step, self.size, self.capture = step, size, capture
        self.waiting: list[tuple[Pattern, State, Given]] = []
        self.met: set[tuple[Pattern, ...]] = set()
        self.launches: dict[tuple[Pattern, ...], tuple[list[Tensor], Callable[[], None]]] = {}

    def __call__(self, pattern: Pattern, state: State, given: Given) -> None:
        """Keep an update, and launch it with those before it if they are enough."""
        self.waiting.append((pattern, state, given))
        if len(self.waiting) == self.size:
            self.flush()

    def flush(self) -> None:
        """Launch the updates that wait, if there are any."""
        if not self.waiting:
            return
        patterns = tuple(pattern for pattern, _, _ in self.waiting)
        if patterns in self.met:
            if patterns not in self.launches:
                self.launches[patterns] = self._recorded()
            slots, launch = self.launches[patterns]
            torch._foreach_copy_(slots, [tensor for _, _, given in self.waiting for tensor in given.tensors()])
            launch()
        else:
            self.met.add(patterns)
            for update in self.waiting:
                self.step(*update)
        self.waiting = []

    def _recorded(self) -> tuple[list[Tensor], Callable[[], None]]:
        """The tensors that a launch of the waiting updates reads, and the launch."""
        fixed = [(pattern, state, clone(given)) for pattern, state, given in self.waiting]

        def updates() -> None:
            for update in fixed:
                self.step(*update)

        return [tensor for _, _, given in fixed for tensor in given.tensors()], self.capture(updates)


def clone(given: Given) -> Given:
    """The same in tensors of its own."""
    noise = [{name: tensor.clone() for name, tensor in group.items()} for group in given.noise]
    return Given(given.rows_PB.clone(), noise, [tensor.clone() for tensor in given.corrections])


def cuda_graphs() -> Capture:
    """Capture by CUDA graphs, which share their memory: they run one after the other."""
    return partial(_captured, torch.cuda.graph_pool_handle())


def _captured(pool: Any, updates: Callable[[], None]) -> Callable[[], None]:
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, pool=pool):
        updates()
    replay: Callable[[], None] = graph.replay
    return replay
