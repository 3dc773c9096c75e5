"""The update as a compiled program.

The update is traced once for each pattern, and the trace is compiled. A call then costs no check and holds no lock, so
that threads run the program side by side; its inputs always have the shapes of the trace.

Private names of torch's compiler are looked for here. Where a release of torch lacks one, the update is compiled
without it, with the same results, and one line of the log says what is lost.
"""

import copy
import logging
import time
from collections.abc import Callable
from functools import cache
from threading import Lock
from typing import Any

import torch
import torch._inductor
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx import GraphModule
from torch.fx.experimental.proxy_tensor import make_fx
from torch.utils import _pytree as pytree

from bcq_exp.data.frames import StackedFrames
from bcq_exp.engine.update import Data, Given, Pattern, State, Update

PASSES_KEY = "post_grad_custom_pre_pass"  # the compiler's option for passes over its graph

# Numbers of a loop that are not worth a second thread. With 512, the compiler's own, lone discrete BCQ is as fast on an
# idle machine, and makes 407 updates a second in place of 484 beside another process.
SMALL_LOOP = 2**14

log = logging.getLogger(__name__)

pytree.register_pytree_node(StackedFrames, StackedFrames.parts, lambda parts, _: StackedFrames.of(*parts))


class CompiledUpdate:
    """An update that is compiled at the first call of each pattern; calls as `Update` does.

    Args:
        update: to be compiled.
        device: where it runs.
    """

    def __init__(self, update: Update, device: torch.device) -> None:
        self.update, self.device, self.seconds = update, device, 0.0
        self.programs: dict[Pattern, Callable[..., Any]] = {}
        self.data = pytree.tree_leaves(update.data)
        self.states: dict[int, list[Tensor]] = {}  # the tensors of each state that it was called with, by its identity
        self.is_compiling = Lock()

    def __call__(self, pattern: Pattern, state: State, given: Given) -> None:
        """Update the members whose state it is; compiling counts in `seconds`."""
        if (tensors := self.states.get(id(state))) is None:
            tensors = self.states.setdefault(id(state), pytree.tree_leaves(state))
        if (program := self.programs.get(pattern)) is None:
            with self.is_compiling:
                program = self.programs.get(pattern) or self._compiled(pattern, state, given)
        program(*self.data, *tensors, *given.tensors())

    def flush(self) -> None:
        """Nothing: each call updates at once."""

    def _compiled(self, pattern: Pattern, state: State, given: Given) -> Callable[..., Any]:
        start = time.perf_counter()
        program = compiled(traced(self.update, pattern, state, given), self.device)
        self.programs[pattern] = program
        self.seconds += time.perf_counter() - start
        return program


def traced(update: Update, pattern: Pattern, state: State, given: Given) -> tuple[GraphModule, list[Any]]:
    """The update of a pattern as a graph of plain operations, and inputs like its own without memory.

    Its inputs are the tensors of the data, of the state and of what is given, in this order.
    """
    leaves, form = pytree.tree_flatten((update.data, state, tuple(given)))

    def on_tensors(*tensors: Tensor) -> tuple[()]:
        data, inner, new = pytree.tree_unflatten(tensors, form)
        on_data = copy.copy(update)
        on_data.data = Data(*data)
        on_data(pattern, inner, Given(*new))
        return ()

    with FakeTensorMode(allow_non_fake_inputs=True) as fake, torch.no_grad():
        inputs = [fake.from_tensor(tensor, static_shapes=True) for tensor in leaves]
        return make_fx(on_tensors)(*inputs), inputs


def compiled(graph: tuple[GraphModule, list[Any]], device: torch.device) -> Callable[..., Any]:
    """The program of a graph, with the calling thread's number of threads in its loops."""
    module, inputs = graph
    program: Callable[..., Any] = torch._inductor.compile(module, inputs, options=compiler_options(device))
    return program


def compiler_options(device: torch.device) -> dict[str, Any]:
    """Options of the compiler for a population's update.

    On a CPU calls from kernel to kernel are compiled too (5 %), and `deterministic` stores what is broadcast: torch
    2.13 would compute a target again for each error that it is in, and with 200 quantiles write beyond its tensors. The
    number of threads is named, since a program in the compiler's cache has the number that it was compiled with. Small
    loops have one thread.
    """
    if device.type == "cuda":
        return {}
    threads = {"cpp.threads": torch.get_num_threads(), "cpp.min_chunk_size": SMALL_LOOP}
    return {"cpp_wrapper": True, "deterministic": True, **threads, **cpu_passes()}


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
