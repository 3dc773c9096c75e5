import importlib.util
from collections.abc import Callable

import pytest
import torch

from bcq_exp.sweeps import launch as room
from bcq_exp.sweeps.launch import Launch, thread_limits, visible_gpus

PLAIN = {"executor": "inprocess", "max_members": None, "num_processes": None, "options": {}}
LOCAL = PLAIN | {"executor": "submitit_local"}


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    def has(*, cores: int, gpus: int = 0, free: int = 0, is_slurm: bool = True) -> None:
        monkeypatch.setattr(room, "num_cores", lambda: cores)
        monkeypatch.setattr(room, "free_bytes", lambda device: free)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
        monkeypatch.setattr("shutil.which", lambda name: f"/usr/bin/{name}" if is_slurm else None)

    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return has


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"executor": "slurm"}, "is none of inprocess, submitit_local, submitit_slurm, ray"),
        ({"options": 60}, "options=60 is no mapping"),
        ({"executor": ["ray"]}, "is none of inprocess"),
        ({"options": {1: 60}}, r"options=\{1: 60\} is no mapping"),
        ({"max_members": "all"}, "max_members=all is no integer"),
        ({"num_processes": 1.5}, "num_processes=1.5 is no integer"),
        ({"max_members": True}, "max_members=True is no integer"),
        ({"max_members": 0}, "max_members=0 is below 1"),
        ({"num_processes": 2}, "drop hydra.launcher.num_processes"),
        ({"options": {"timeout_min": 5}}, "drop hydra.launcher.num_processes and hydra.launcher.options"),
        ({"executor": "submitit_local", "num_processes": 5}, "allowed are 1 to 4"),
        ({"executor": "submitit_local", "options": {"timeout_mins": 5}}, "timeout_min"),
        ({"executor": "submitit_local", "options": {"timeout_min": "soon"}}, '"timeout_min" expected type'),
        ({"executor": "submitit_slurm", "options": {}}, "lacks timeout_min"),
        ({"executor": "submitit_slurm", "options": {"timeout_min": 5, "slurm_queue": "gpu"}}, "'queue'"),
    ],
)
def test_what_an_executor_does_not_take_is_said(machine: Callable[..., None], keys: dict, said: str):
    pytest.importorskip("submitit")
    machine(cores=4)
    with pytest.raises(ValueError, match=said):
        Launch(**PLAIN | keys)


def test_a_machine_without_slurm_is_told_apart(machine: Callable[..., None]):
    pytest.importorskip("submitit")
    machine(cores=4, is_slurm=False)
    with pytest.raises(ValueError, match='submitit_slurm: Could not detect "srun"'):
        Launch(**PLAIN | {"executor": "submitit_slurm", "options": {"timeout_min": 5}})


@pytest.mark.parametrize(("executor", "package"), [("submitit_slurm", "submitit"), ("ray", "ray")])
def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch, executor: str, package: str):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=rf"pip install 'bcq_exp\[{package}\]'"):
        Launch(**PLAIN | {"executor": executor})


def test_an_option_that_ray_does_not_take_is_named():
    pytest.importorskip("ray")
    with pytest.raises(ValueError, match=r"ray.init does not take adress; it takes address, "):
        Launch(**PLAIN | {"executor": "ray", "options": {"adress": "auto"}})


@pytest.mark.parametrize(
    ("cores", "gpus", "keys", "num_threads", "device", "expected"),
    [
        (16, 0, {"executor": "inprocess"}, 2, "cpu", (1, 16)),
        (16, 0, {}, 2, "cpu", (8, 2)),
        (16, 0, {}, 3, "cpu", (5, 3)),
        (16, 0, {}, 32, "cpu", (1, 16)),
        (16, 0, {"num_processes": 5}, 8, "cpu", (5, 3)),
        (16, 4, {}, 2, "cuda", (4, 4)),
        (16, 4, {"num_processes": 8}, 2, "cuda", (8, 2)),
        (2, 4, {}, 2, "cuda", (4, 1)),
    ],
)
def test_places_and_threads_follow_from_cores_and_gpus(
    machine: Callable[..., None], cores: int, gpus: int, keys: dict, num_threads: int, device: str, expected: tuple
):
    pytest.importorskip("submitit")
    machine(cores=cores, gpus=gpus)
    launch = Launch(**LOCAL | keys)
    assert (launch.places(num_threads, device), launch.max_threads(num_threads, device)) == expected


def test_those_who_run_at_a_time_share_the_memory_of_their_device(machine: Callable[..., None]):
    pytest.importorskip("submitit")
    machine(cores=16, gpus=4, free=1200)
    assert Launch(**PLAIN).bytes_at_hand(2, "cpu") == 1200
    assert Launch(**LOCAL).bytes_at_hand(2, "cpu") == 150  # eight processes
    assert Launch(**LOCAL).bytes_at_hand(2, "cuda") == 1200  # a GPU each
    assert Launch(**LOCAL | {"num_processes": 6}).bytes_at_hand(2, "cuda") == 600  # two on some GPU


def test_a_cluster_gives_what_is_asked_of_it(machine: Callable[..., None]):
    pytest.importorskip("submitit")
    machine(cores=2, free=1200)
    asked = {"timeout_min": 5, "mem_gb": 3, "cpus_per_task": 4}
    launch = Launch(**PLAIN | {"executor": "submitit_slurm", "num_processes": 9, "options": asked})
    assert (launch.max_threads(8, "cpu"), launch.bytes_at_hand(8, "cpu")) == (4, 3 * 2**30)
    assert launch.bytes_at_hand(8, "cuda") is None
    bare = Launch(**PLAIN | {"executor": "submitit_slurm", "options": {"timeout_min": 5}})
    assert (bare.max_threads(8, "cpu"), bare.bytes_at_hand(8, "cpu")) == (8, None)


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
