"""What each kind of executor gives a group of a machine."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import pytest

from bcq_exp.sweeps.executors import EXECUTORS
from bcq_exp.sweeps.executors.form import Executor, ProcessExecutor, device_of
from bcq_exp.sweeps.executors.supervision import Start
from bcq_exp.sweeps.group import Group


def made(kind: str, *, num_processes: int | None = None, **options: Any) -> Executor:
    return EXECUTORS[kind](kind, num_processes, options)


def group(sweep_dir: Path, name: str, device: str = "cpu") -> Group:
    return Group(sweep_dir, [name], num_threads=1, device=device)


@pytest.mark.parametrize(
    ("cores", "gpus", "kind", "num_processes", "num_threads", "device", "expected"),
    [
        (16, 0, "inprocess", None, 2, "cpu", (1, 16)),
        (16, 4, "inprocess", None, 2, "cuda", (1, 16)),
        (16, 0, "submitit_local", None, 2, "cpu", (8, 2)),
        (16, 0, "submitit_local", None, 3, "cpu", (5, 3)),
        (16, 0, "submitit_local", None, 32, "cpu", (1, 16)),
        (16, 0, "submitit_local", 5, 8, "cpu", (5, 3)),
        (16, 4, "submitit_local", None, 2, "cuda", (4, 4)),
        (16, 4, "submitit_local", 8, 2, "cuda", (8, 2)),
        (2, 4, "submitit_local", None, 2, "cuda", (4, 1)),
        (16, 4, "ray", None, 2, "cpu", (8, 2)),
    ],
)
def test_places_and_threads_follow_from_cores_and_gpus(
    machine: Callable[..., None],
    cores: int,
    gpus: int,
    kind: str,
    num_processes: int | None,
    num_threads: int,
    device: str,
    expected: tuple[int, int],
):
    machine(cores=cores, gpus=gpus)
    executor = made(kind, num_processes=num_processes)
    assert (executor.places(num_threads, device), executor.max_threads(num_threads, device)) == expected


def test_those_who_run_at_a_time_share_the_memory_of_their_device(machine: Callable[..., None]):
    machine(cores=16, gpus=4, free=1200)
    assert made("inprocess").bytes_at_hand(2, "cpu") == 1200
    assert made("inprocess").bytes_at_hand(2, "cuda") == 1200
    assert made("submitit_local").bytes_at_hand(2, "cpu") == 150  # eight processes
    assert made("submitit_local").bytes_at_hand(2, "cuda") == 1200  # a GPU each
    assert made("submitit_local", num_processes=6).bytes_at_hand(2, "cuda") == 600  # two on some GPU


def test_a_cluster_gives_what_is_asked_of_it(machine: Callable[..., None]):
    machine(cores=2, free=1200)
    asked = made("submitit_slurm", num_processes=9, timeout_min=5, mem_gb=3, cpus_per_task=4)
    assert (asked.max_threads(8, "cpu"), asked.bytes_at_hand(8, "cpu")) == (4, 3 * 2**30)
    assert asked.bytes_at_hand(8, "cuda") is None
    for bare in (made("submitit_slurm", timeout_min=5), made("ray", address="auto")):
        assert (bare.max_threads(8, "cpu"), bare.bytes_at_hand(8, "cpu")) == (8, None)


def test_groups_run_here_unless_a_cluster_is_named():
    assert {kind: made(kind).is_here for kind in EXECUTORS} == {
        "inprocess": True,
        "submitit_local": True,
        "submitit_slurm": False,
        "ray": True,
    }
    assert not made("ray", address="auto").is_here


class Noted(ProcessExecutor):
    """Notes how its groups are started, each of which dies at once."""

    started: ClassVar[list[tuple[str, str]]] = []

    def check_options(self) -> None:
        pass

    @contextmanager
    def starting(self, num_places: int, num_threads: int, sweep_dir: Path) -> Iterator[Start]:
        def start(groups: Sequence[Group], gpus: Sequence[str]) -> list[Dead]:
            self.started.extend((name, gpu) for each, gpu in zip(groups, gpus, strict=True) for name in each.runs)
            return [Dead() for _ in groups]

        yield start


class Dead:
    def state(self) -> None:
        return None

    def where(self) -> str:
        return "nowhere"

    def cancel(self) -> None:
        raise AssertionError("it has ended")


class Dealing(Noted):
    deals_gpus = True
    started: ClassVar[list[tuple[str, str]]] = []


@pytest.mark.parametrize(
    ("kind", "device", "gpus"),
    [(Noted, "cuda", ["", "", ""]), (Dealing, "cuda", ["0", "1", "0"]), (Dealing, "cpu", ["", "", ""])],
)
def test_a_group_is_told_its_gpu_where_the_package_does_not_deal_them(
    machine: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    kind: type[Noted],
    device: str,
    gpus: list[str],
):
    machine(cores=8, gpus=2)
    monkeypatch.setattr(kind, "started", [])
    groups = [group(tmp_path, name, device) for name in "abc"]
    died = kind("noted", None, {}).run(groups, tmp_path, lambda _: pytest.fail("trained in this process"))
    assert kind.started == list(zip("abc", gpus, strict=True))
    assert len(died) == 3


def test_one_group_on_a_gpu_makes_it_a_sweep_of_gpus(tmp_path: Path):
    assert device_of([group(tmp_path, "a"), group(tmp_path, "b", "cuda")]) == "cuda"
    assert device_of([group(tmp_path, "a")]) == "cpu"
