"""Milliseconds an update against the arithmetic floor: `python -m experiments.benchmark.updates` (`make bench`).

The floor is the counted matrix operations of an update over the rate of large matrix products, measured in the same
process just before. Kernel calls are the fused loops and matrix products of one update of all members.
"""

import argparse
import itertools
import re
from functools import partial

import torch
import torch._inductor.config
from rich.console import Console
from rich.table import Table
from torch.profiler import ProfilerActivity, profile

from bcq_exp.engine.machine import prepare_for
from bcq_exp.engine.population import Population
from experiments.benchmark.cases import CASES, flop, population, typed
from experiments.benchmark.machine import machine, matrix_rate, seconds_a_call

MEMBERS = {"bcq": (1,), "discrete-64": (1, 8, 16), "nature-cnn": (1,)}
CALL = 20  # updates that are timed together; the parts of a population meet at their end only
PRODUCTS = {"mm", "addmm", "bmm", "baddbmm", "mkldnn_convolution", "mkldnn__convolution_pointwise", "cudnn_convolution",
            "convolution_backward"}  # fmt: skip


def programs(members: Population) -> int:
    """Programs that the population has compiled so far."""
    return len(members.compiled.programs) if members.compiled else 0


def kernel_calls(members: Population) -> int:
    """Count the fused loops and matrix products of one compiled update of all members, made in this thread."""
    with profile(activities=[ProfilerActivity.CPU]) as recorded:
        for part in members.parts:
            part.advance(1, members.step, members.update)
    return sum(event.count for event in recorded.key_averages() if is_kernel(event.key))


def is_kernel(name: str) -> bool:
    """Whether a recorded name is one of a fused loop, or of a product outside of them."""
    product = re.sub(r"^aten::|^aoti_torch_cpu_|_out$", "", name)
    return product in PRODUCTS or (name.startswith("graph_") and "cpp_fused" in name)


def main() -> None:
    """Print a row for each update, number of members, number of threads and precision, eager and compiled."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2], help="of a run, each measured in turn")
    parser.add_argument("--seconds", type=float, default=5.0, help="of measuring, a row")
    parser.add_argument("--device", default="cpu", help="as torch names it")
    parser.add_argument("--cases", nargs="+", default=list(MEMBERS), choices=list(MEMBERS), help="to be timed")
    args = parser.parse_args()
    torch._inductor.config.cpp.enable_kernel_profile = True
    table = Table(title=f"{machine(args.device)}, torch {torch.__version__}")
    columns = ("update", "members", "threads", "precision", "compiled in s", "programs", "of these late",
               "kernel calls", "ms a member", "GFLOP/s", "matrix GFLOP/s", "times the floor")  # fmt: skip
    for column in columns:
        table.add_column(column, justify="left" if column == "update" else "right")
    settings = (("fp32", "never"), ("fp32", "always"), ("bf16", "always"))
    for name, num_threads, (precision, setting) in itertools.product(args.cases, args.threads, settings):
        case = CASES[name]
        overrides = (f"precision={precision}", f"compile={setting}", f"device={args.device}")
        config = case.config(*overrides, f"num_threads={num_threads}")
        data, cfg = case.columns(), typed(config)
        for num_members in MEMBERS[name]:
            prepare_for(num_threads, num_members)
            operations, members = flop(config, data), population(cfg, data, num_members)
            members.advance(2)
            num_programs, rate = programs(members), matrix_rate(args.device, precision, seconds=1.0)
            call = partial(members.advance, CALL)
            seconds = seconds_a_call(call, args.seconds, args.device) / CALL / num_members
            late = programs(members) - num_programs
            compiled = ["-"] * 4
            if members.is_compiled:
                compiled = [f"{members.compile_seconds:.0f}", str(num_programs), str(late), str(kernel_calls(members))]
            figures = [f"{value:.3g}" for value in (seconds * 1e3, operations / seconds / 1e9, rate / 1e9)]
            table.add_row(case.title, str(num_members), str(num_threads), precision,
                          *compiled, *figures,
                          f"{seconds * rate / operations:.1f}")  # fmt: skip
    Console(width=180).print(table)


if __name__ == "__main__":
    main()
