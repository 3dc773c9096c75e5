"""Process settings: threads, memory, number formats, and whether there is a compiler."""

import ctypes
import logging
import math
import os
import re
import shutil
import sys
from functools import cache
from pathlib import Path

import torch

from bcq_exp.engine.waiting import watch

log = logging.getLogger(__name__)

AUTO = "auto"
MAX_THREADS = 1024
DEVICE = re.compile(r"(?!cpu:)[a-z]+(:\d{1,3})?", re.ASCII)
LONE_THREADS = 2  # of a product: those of networks as large as the papers' gain nothing from more
COMPILE_FROM = 5_000  # updates from which compiling pays: it takes about 10 s and saves 2 ms an update
# mallopt options: M_TRIM_THRESHOLD, keep up to 1 GiB at the heap's end; M_MMAP_THRESHOLD, use mmap only above 32 MiB.
MALLOC_OPTIONS = {-1: 2**30, -3: 2**25}


def device_errors(device: str) -> list[str]:
    """Why torch cannot compute on a device."""
    if DEVICE.fullmatch(device) is None:
        return [f"device={device} cannot be used: it is no device's name, such as cpu, cuda or cuda:1"]
    try:
        (torch.ones(1, device=device) + 1).item()  # there are devices that take a tensor and cannot compute
    except (RuntimeError, AssertionError, ImportError, AttributeError) as error:
        why = next(iter(str(error).splitlines()), type(error).__name__)
        return [f"device={device} cannot be used: {why}; give device=cpu, or install a build of torch that has it"]
    return []


def num_cores() -> int:
    """Cores that this process may use: those that it is bound to, or fewer where its control group has a quota."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text(encoding="ascii").split()
    except (OSError, ValueError):
        return cores
    return cores if quota == "max" else max(1, min(cores, math.floor(int(quota) / int(period))))


def num_threads_of(setting: int | str, num_members: int, most: int) -> int:
    """Cores that a population uses.

    Args:
        setting: a number, or auto: all for members that train side by side, and `LONE_THREADS` for a lone one.
        num_members: of the population.
        most: that it may use.
    """
    if setting == AUTO:
        return most if num_members > 1 else min(LONE_THREADS, most)
    return min(int(setting), most)


def prepare_for(setting: int | str, num_members: int) -> int:
    """Prepare the process for a population's updates, and return the cores that it uses.

    Args:
        setting: as for `num_threads_of`.
        num_members: of the population.
    """
    num_threads = num_threads_of(setting, num_members, num_cores())
    prepare_process(num_threads if num_members == 1 else min(LONE_THREADS, num_threads))
    return num_threads


def prepare_process(num_threads: int) -> None:
    """Set torch's threads, round subnormal numbers (below 1e-38) to zero, and keep freed memory in the process.

    Threads that wait for each other sleep where other processes need their cores: see `waiting.py`.

    Adam's moments of weights without gradients shrink to subnormal numbers and stay there; a CPU computes with each of
    them a hundred times more slowly. A thread takes the setting over when it starts, so call this before any work.

    Each update allocates and frees the same tensors. By default glibc returns the larger ones to the system, and the
    next update waits for new pages filled with zeros: 4,000 an update of a convolutional network.

    Args:
        num_threads: of torch.
    """
    torch.set_flush_denormal(True)
    torch.set_num_threads(num_threads)
    watch(num_threads)
    if sys.platform == "linux" and hasattr(libc := ctypes.CDLL(None), "mallopt"):
        for option, num_bytes in MALLOC_OPTIONS.items():
            libc.mallopt(option, num_bytes)


def checked_precision(precision: str, device: torch.device) -> str:
    """The precision of matrix products, as given; warns where the machine has no units for it."""
    if precision == "bf16" and device.type == "cpu" and not has_onednn(torch.bfloat16):
        log.warning("precision=bf16: this processor has no units for it, so the run is slower than with fp32")
    return precision


def use_precision(precision: str, device: torch.device) -> None:
    """Have a GPU compute products and convolutions of fp32 numbers in TF32 (10 bits of mantissa), or in full."""
    if device.type == "cuda":
        is_tf32 = precision == "tf32"
        torch.backends.cuda.matmul.allow_tf32 = is_tf32
        torch.backends.cudnn.allow_tf32 = is_tf32


def has_onednn(dtype: torch.dtype) -> bool:
    """Whether torch has oneDNN, and it computes products and convolutions of these numbers at full speed here."""
    if not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return False
    has_bf16 = getattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: False)
    return dtype == torch.float32 or (dtype == torch.bfloat16 and bool(has_bf16()))


def should_compile(setting: str, num_updates: int) -> bool:
    """Whether the update is compiled.

    Args:
        setting: always, never, or auto: where the run is long enough.
        num_updates: of the run.
    """
    if setting == "never" or (setting == "auto" and num_updates < COMPILE_FROM):
        return False
    return has_compiler()


@cache  # the log says it once, however many groups a sweep has
def has_compiler() -> bool:
    """Whether there is a C++ compiler, which compiling the update needs; warns where there is none."""
    is_there = shutil.which(os.environ.get("CXX", "g++")) is not None
    if not is_there:
        log.warning("there is no C++ compiler, so the update is not compiled: it runs about half as fast")
    return is_there
