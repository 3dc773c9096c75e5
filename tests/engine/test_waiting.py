"""Threads of products that sleep while other processes need their cores."""

import ctypes
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bcq_exp.engine import waiting
from bcq_exp.engine.waiting import CALM, Load, Team, Waiting, libgomp

on_libgomp = pytest.mark.skipif(libgomp() is None, reason="torch computes with another OpenMP than GNU's")


class Recorded(Waiting):
    """One that notes what it would have libgomp do."""

    def __init__(self, num_cores: int, num_threads: int) -> None:
        super().__init__(ctypes.CDLL(None), set(range(num_cores)), num_threads)


@pytest.fixture(autouse=True)
def _no_team(monkeypatch: pytest.MonkeyPatch) -> None:
    class Nothing:
        def __init__(self, library: ctypes.CDLL, num_cores: int) -> None: ...

        def end(self) -> None: ...

    monkeypatch.setattr(waiting, "Team", Nothing)


@pytest.mark.parametrize(
    ("num_cores", "num_threads", "others", "sleeps"),
    [
        (2, 2, 0.0, False),
        (2, 2, 0.4, False),  # less than half a core: spinning is still the quicker
        (2, 2, 0.6, True),
        (2, 2, 2.0, True),
        (16, 2, 14.0, False),  # both threads have a core of their own
        (16, 2, 14.6, True),
        (1, 2, 0.0, True),  # more threads than cores
    ],
)
def test_threads_sleep_where_others_need_their_cores(num_cores: int, num_threads: int, others: float, sleeps: bool):
    watched = Recorded(num_cores, num_threads)
    watched.react(others)
    assert watched.is_sleeping == sleeps


def test_threads_spin_again_when_the_others_have_been_gone_for_a_while():
    watched = Recorded(2, 2)
    states = []
    for others in [1.0, *[0.0] * (CALM - 1), 0.9, *[0.1] * CALM, 0.0]:
        watched.react(others)
        states.append(watched.is_sleeping)
    assert states == [True] * (2 * CALM) + [False] * 2


def test_the_load_of_others_is_that_of_all_without_ones_own():
    before, after = Load(at=10.0, all=100.0, own=7.0), Load(at=12.0, all=103.0, own=8.0)
    assert after.others_since(before) == 1.0  # 3 seconds on all cores, 1 of them ours, in 2 seconds


@on_libgomp
@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="two threads never spin on one core")
def test_a_team_changes_how_long_libgomps_threads_spin_and_no_bit_of_a_product():
    """Context switches that a thread asks for tell sleeping from spinning: as it sleeps it gives its core away."""
    code = f"""
import resource, sys, torch
sys.path[:0] = {sys.path!r}
from bcq_exp.engine.waiting import Team, libgomp
torch.set_num_threads(2)
torch.manual_seed(0)
a, b = torch.randn(64, 256), torch.randn(256, 256)
def switches():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_nvcsw
    found = [a @ b for _ in range(2000)][-1]
    return resource.getrusage(resource.RUSAGE_SELF).ru_nvcsw - before, found
team = Team(libgomp(), {len(os.sched_getaffinity(0))})
asleep, one = switches()
team.end()
awake, other = switches()
print(asleep, awake, torch.equal(one, other))
"""
    env = {key: value for key, value in os.environ.items() if key not in (*waiting.SETTINGS, "OMP_NUM_THREADS")}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    asleep, awake, are_equal = done.stdout.split()
    assert int(asleep) > 500
    assert int(asleep) > 3 * int(awake)
    assert are_equal == "True"


@on_libgomp
@pytest.mark.parametrize(("name", "watched"), [(None, True), ("OMP_WAIT_POLICY", False), ("GOMP_SPINCOUNT", False)])
def test_what_the_user_has_set_stays(name: str | None, watched: bool, monkeypatch: pytest.MonkeyPatch):
    for each in waiting.SETTINGS:
        monkeypatch.delenv(each, raising=False)
    if name:
        monkeypatch.setenv(name, "1")
    monkeypatch.setattr(Waiting, "start", lambda self: None)
    waiting._waiting.cache_clear()
    try:
        assert (waiting._waiting() is not None) == watched
    finally:
        waiting._waiting.cache_clear()


def test_a_process_without_libgomp_is_left_alone(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(Path, "read_text", lambda *_, **__: "7f0 r-xp 0 08:01 1 /usr/lib/libomp.so\n")
    assert libgomp() is None


def test_a_team_gathers_and_goes():
    if (library := libgomp()) is None:
        pytest.skip("torch computes with another OpenMP than GNU's")
    before = len(os.listdir("/proc/self/task"))
    team = Team(library, 3)
    assert len(os.listdir("/proc/self/task")) == before + 4  # the master and three of its threads
    team.end()
    deadline = time.monotonic() + 30
    while len(os.listdir("/proc/self/task")) > before and time.monotonic() < deadline:
        time.sleep(0.01)  # libgomp's threads end one by one
    assert len(os.listdir("/proc/self/task")) <= before
