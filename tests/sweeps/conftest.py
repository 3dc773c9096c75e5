from collections.abc import Callable

import pytest
import torch

from bcq_exp.sweeps.executors import form


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """This machine with other cores, GPUs and free memory, and with SLURM or without."""

    def has(*, cores: int, gpus: int = 0, free: int = 0, is_slurm: bool = True) -> None:
        monkeypatch.setattr(form, "num_cores", lambda: cores)
        monkeypatch.setattr(form, "free_bytes", lambda device: free)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
        monkeypatch.setattr("shutil.which", lambda name: f"/usr/bin/{name}" if is_slurm else None)

    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return has
