import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from bcq_exp.data import Transitions
from bcq_exp.sweeps import memory
from bcq_exp.sweeps.memory import FACTOR, Need, Peak, free_bytes, need
from bcq_exp.training.config import RunConfig
from bcq_exp.training.experiment import make_population
from cases import checked, random_walk

NETWORKS = {
    "discrete": ("dataset=cartpole-noisy", "network.hidden_sizes=[256,256]", "batch_size=256"),
    "continuous": ("algorithm=bcq", "dataset=pendulum-noisy", "network=bcq_paper", "batch_size=32"),
    "two at once": ("algorithm=mcq", "dataset=pendulum-noisy", "experiment=baselines", "batch_size=32"),
    "late": ("algorithm=td3_bc", "dataset=pendulum-noisy", "network.hidden_sizes=[64]", "algorithm.policy_freq=5"),
}


def case(name: str) -> tuple[RunConfig, Transitions]:
    return checked(*NETWORKS[name], "compile=never"), random_walk(60, is_discrete=name == "discrete")


def test_the_peak_counts_each_memory_once_and_until_it_is_freed():
    before = torch.ones(1000)
    with Peak() as peak:
        first = before + 1  # 4,000 bytes
        second = first.double()  # 8,000
        view = second[:500].view(2, 250)
        first.mul_(2)
        assert peak.most == peak.held == 12_000
        del first
        third = view.sum(0)  # 2,000, while the view keeps all of the second
        assert (peak.held, peak.most) == (10_000, 12_000)
        del second, view, third
        assert (peak.held, peak.most) == (0, 12_000)


@pytest.mark.parametrize("name", NETWORKS)
def test_what_two_and_four_members_take_tells_what_eight_take(name: str):
    cfg, transitions = case(name)
    found = need(cfg, transitions, 1)
    with Peak() as peak:
        population = make_population([cfg] * 8, transitions)
        population.advance(10)
    columns = [column for column in vars(transitions).values() if isinstance(column, np.ndarray)]
    data = 2 * sum(column.nbytes for column in columns)
    told = 8 * found.member + found.fixed - data
    assert 0.7 < FACTOR * peak.most / told < 1.05  # less where eight are updated in parts and four at once
    weights = sum(tensor.nbytes for tensor in population.nets.tensors.values()) / 8
    assert found.member > FACTOR * 3 * weights  # they and two moments at the least; gradients are those of a part


REAL = """
import ctypes, re, sys
from pathlib import Path
sys.path[:0] = sys.argv[2:]
from bcq_exp.training.experiment import make_population
from bcq_exp.sweeps.memory import need
from test_memory import case
cfg, transitions = case(sys.argv[1])
ctypes.CDLL(None).malloc_trim(0)  # what the imports have freed serves no population,
Path("/proc/self/clear_refs").write_text("5")  # and their peak hides none
most = []
for num_members in (2, 14):
    population = make_population([cfg] * num_members, transitions)
    population.advance(3)
    del population
    most.append(1024 * int(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1]))
print((most[1] - most[0]) / 12, need(cfg, transitions, 1).member)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the system does not tell a process's peak")
@pytest.mark.parametrize("name", ["discrete", "continuous"])
def test_a_real_process_takes_less_for_a_member_than_was_estimated(name: str):
    command = [sys.executable, "-c", REAL, name, *map(str, Path(__file__).parents[:2])]
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, env=env)
    assert done.returncode == 0, done.stderr
    taken, estimated = map(float, done.stdout.split())
    assert 0.4 * estimated < taken < estimated, (taken, estimated)


def test_no_group_is_smaller_than_one_member():
    assert [Need(member=10, fixed=5).largest(at_hand) for at_hand in (0, 14, 24, 25, 34, 35)] == [1, 1, 1, 2, 2, 3]


def test_a_part_of_the_free_memory_is_left_to_others(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(memory.psutil, "virtual_memory", lambda: SimpleNamespace(available=1000))
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (500, 2000))
    assert (free_bytes("cpu"), free_bytes("cuda"), free_bytes("cuda:1")) == (800, 400, 400)
