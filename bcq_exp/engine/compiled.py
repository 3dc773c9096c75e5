"""The update as a compiled program.

Private names of torch's compiler are looked for here. Where a release of torch lacks one, the update is compiled
without it, with the same results, and one line of the log says what is lost.
"""

import itertools
import logging
import time
from collections.abc import Iterable, Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor

from bcq_exp.algorithms.form import Tensors
from bcq_exp.engine.update import Part, Pattern, Update

PASSES_KEY = "post_grad_custom_pre_pass"  # the compiler's option for passes over its graph

log = logging.getLogger(__name__)

_programs = itertools.count()


class CompiledUpdate:
    """An update that is compiled at the first call of each pattern; calls as `Update` does.

    Args:
        update: to be compiled.
        parts: the only ones that it will be called with.
        device: where it runs.
    """

    def __init__(self, update: Update, parts: Iterable[Part], device: torch.device) -> None:
        self.update, self.program, self.seconds = update, next(_programs), 0.0
        self.known: set[Pattern] = set()
        if device.type == "cuda":
            keep_in_place(tensor for part in parts for tensor in part.tensors())
        torch.compiler.reset()  # graphs of an earlier population count towards the limit of this one's
        self.graph = torch.compile(self._graph, fullgraph=True, dynamic=False, options=compiler_options(device))

    def _graph(self, pattern: tuple[int, Pattern], part: Part, rows_PB: Tensor, noise: Sequence[Tensors]) -> None:
        program, in_update = pattern
        assert program == self.program  # read, so that the compiler tells populations apart by it
        self.update(in_update, part, rows_PB, noise)

    def __call__(self, pattern: Pattern, part: Part, rows_PB: Tensor, noise: Sequence[Tensors]) -> None:
        """Update a part; the first call of each pattern, which compiles it, counts in `seconds`."""
        start = time.perf_counter()
        self.graph((self.program, pattern), part, rows_PB, noise)
        if pattern not in self.known:
            self.seconds += time.perf_counter() - start
            self.known.add(pattern)


def compiler_options(device: torch.device) -> dict[str, Any]:
    """Options of `torch.compile` for a population's update.

    Nothing is checked before a call but the pattern, which names the population too: shapes and objects are its own and
    never change; checking them would take a tenth of a small update. On a CPU calls from kernel to kernel are compiled
    too (5 %), and `deterministic` stores what is broadcast: torch 2.13 would compute a target again for each error that
    it is in, and with 200 quantiles write beyond its tensors. On CUDA the kernels of a graph are launched together
    (CUDA graphs), on tensors that stay where they are.
    """
    guards = {"guard_filter_fn": lambda guards: [guard.name.startswith("pattern") for guard in guards]}
    if device.type == "cuda":
        return {"triton.cudagraphs": True, **guards}
    return {"cpp_wrapper": True, "deterministic": True, **cpu_passes(), **guards}


@cache  # the log says it once, however many groups a sweep has
def cpu_passes() -> dict[str, Any]:
    """The option that adds the passes for CPUs to the compiler's own; empty where this torch cannot take them."""
    try:
        from bcq_exp.engine.cpu_passes import CpuPasses

        if PASSES_KEY not in torch._inductor.list_options():
            raise ImportError(f"the compiler has no option {PASSES_KEY}")
    except (ImportError, AttributeError) as missing:
        log.warning(
            "torch %s: %s; the update is compiled without our passes for CPUs, and with convolutions takes about 10 %%"
            " more time",
            torch.__version__,
            missing,
        )
        return {}
    return {PASSES_KEY: CpuPasses()}


def keep_in_place(tensors: Iterable[Tensor]) -> None:
    """Promise the compiler that these tensors never move, so that CUDA graphs write into them, not into copies."""
    try:
        mark = torch._dynamo.mark_static_address
    except AttributeError as missing:
        log.warning("torch %s: %s; CUDA graphs copy all weights in each update", torch.__version__, missing)
        return
    for tensor in tensors:
        mark(tensor)
