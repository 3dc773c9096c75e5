"""GPUs of this machine, and the limit of a process's threads."""

import os

import torch


def visible_gpus() -> list[str]:
    """The GPUs that this process sees, as `CUDA_VISIBLE_DEVICES` names them."""
    num_gpus = torch.cuda.device_count()
    named = [name for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name]
    return named[:num_gpus] if named else [str(index) for index in range(num_gpus)]


def thread_limits(num_threads: int) -> dict[str, str]:
    """Environment variables that limit a process to `num_threads`; libraries read them as they are loaded."""
    return dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "TORCHINDUCTOR_COMPILE_THREADS"), str(num_threads))
