from collections.abc import Callable

import pytest

from bcq_exp.sweeps.executors.resources import thread_limits, visible_gpus


def test_the_gpus_keep_the_names_that_the_environment_gives_them(
    machine: Callable[..., None], monkeypatch: pytest.MonkeyPatch
):
    machine(cores=2, gpus=2)
    assert visible_gpus() == ["0", "1"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5,GPU-aa,7")  # the third cannot be used
    assert visible_gpus() == ["5", "GPU-aa"]


def test_every_library_that_makes_threads_is_limited():
    assert thread_limits(3) == {
        "OMP_NUM_THREADS": "3",
        "MKL_NUM_THREADS": "3",
        "TORCHINDUCTOR_COMPILE_THREADS": "3",
    }
