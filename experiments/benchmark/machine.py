"""The machine: its processor, its GPU, and its rate of matrix products."""

import os
import platform
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

PRECISIONS = {"fp32": torch.float32, "tf32": torch.float32, "bf16": torch.bfloat16}


def wait(device: str) -> None:
    """Wait until the device has finished all its work."""
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize(device)


def matrix_rate(device: str, precision: str, seconds: float) -> float:
    """Measure the rate of square matrix products, in FLOP/s.

    Args:
        device: as torch names it.
        precision: a key of `PRECISIONS`.
        seconds: of measuring.
    """
    size = 1024 if device == "cpu" else 8192
    a, b = (torch.randn(size, size, device=device).to(PRECISIONS[precision]) for _ in range(2))
    settings = torch.backends.cuda.matmul
    before, settings.allow_tf32 = settings.allow_tf32, precision == "tf32"
    try:
        return 2 * size**3 / seconds_a_call(lambda: torch.mm(a, b), seconds, device)
    finally:
        settings.allow_tf32 = before


def seconds_a_call(call: Callable[[], object], seconds: float, device: str) -> float:
    """Measure the seconds of a call: the median over blocks of calls that fill the given time, after a warm-up."""
    for _ in range(2):  # the second is timed
        start = time.perf_counter()
        call()
        wait(device)
    block = max(1, int(0.05 / max(time.perf_counter() - start, 1e-9)))
    timings: list[float] = []
    end = time.perf_counter() + seconds
    while not timings or time.perf_counter() < end:
        start = time.perf_counter()
        for _ in range(block):
            call()
        wait(device)
        timings.append((time.perf_counter() - start) / block)
    return float(np.median(timings))


def cpu_model() -> str:
    """The processor as the kernel names it, or its architecture."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return f"{os.cpu_count()} cores of {platform.machine()}"
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{len(names)} cores of {names[0]}" if names else platform.machine()


def machine(device: str) -> str:
    """The processor, and the GPU where one is used."""
    return cpu_model() if device == "cpu" else f"{torch.cuda.get_device_name(device)}; {cpu_model()}"
