"""What of the machine a process uses: threads, memory, number formats and a compiler."""

import ctypes
import logging
import os
import shutil
import sys
from functools import cache

import torch

log = logging.getLogger(__name__)

COMPILE_FROM = 5_000  # updates from which what is saved outweighs compiling: 2 ms each against about 10 s
# Of freed memory in glibc, by its options: M_TRIM_THRESHOLD, at the end of the heap; M_MMAP_THRESHOLD, of one piece.
KEPT_BYTES = {-1: 2**30, -3: 2**25}


def prepare_process(num_threads: int) -> None:
    """Set torch's threads, let numbers below 1e-38 be zero, and keep memory that was freed.

    Weights that no gradient reaches any more have Adam moments that shrink to such numbers and stay there, and a CPU
    computes with each of them a hundred times more slowly. Threads take the setting over when they begin, so it comes
    before any work.

    Each update takes and frees the same tensors. Left to itself glibc gives the larger ones back to the system, which
    hands every page out anew, filled with zeros: 4,000 pages an update of a convolutional network.
    """
    torch.set_flush_denormal(True)
    torch.set_num_threads(num_threads)
    if sys.platform == "linux" and hasattr(libc := ctypes.CDLL(None), "mallopt"):
        for option, num_bytes in KEPT_BYTES.items():
            libc.mallopt(option, num_bytes)


def checked_precision(precision: str, device: torch.device) -> str:
    """The precision of matrix products; says where the machine has no units for it."""
    if precision == "bf16" and device.type == "cpu" and not has_onednn(torch.bfloat16):
        log.warning("precision=bf16: this processor has no units for it, so the run is slower than with fp32")
    return precision


def has_onednn(dtype: torch.dtype) -> bool:
    """Whether torch has oneDNN here, and oneDNN products and convolutions of these numbers at full speed."""
    is_there = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    served = {torch.float32: is_there, torch.bfloat16: is_there and torch.ops.mkldnn._is_mkldnn_bf16_supported()}
    return bool(served.get(dtype))


def should_compile(setting: str, num_updates: int) -> bool:
    """Whether the update is compiled: always, never, or (auto) where a run is long enough; says why not."""
    if setting == "never" or (setting == "auto" and num_updates < COMPILE_FROM):
        return False
    return has_compiler()


@cache  # what it says is said once, however many groups a sweep has
def has_compiler() -> bool:
    """Whether there is a C++ compiler, which compiling the update needs; says what follows where there is none."""
    is_there = shutil.which(os.environ.get("CXX", "g++")) is not None
    if not is_there:
        log.warning("there is no C++ compiler, so the update is not compiled: it runs about half as fast")
    return is_there
