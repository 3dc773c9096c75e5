import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from bcq_exp.data import read_transitions
from bcq_exp.engine.machine import num_cores
from bcq_exp.sweeps import grouping, memory
from bcq_exp.sweeps.grouping import groups, plan, program, split
from bcq_exp.sweeps.launch import Launch
from bcq_exp.sweeps.memory import SHARE, need
from bcq_exp.training import datasets
from sweeps.sweep_jobs import HERE, job, jobs_on

IQL = ("algorithm=iql", "dataset=pendulum-noisy")


@pytest.mark.parametrize(
    ("first", "second", "is_shared"),
    [
        (("seed=0",), ("seed=1",), True),
        (("algorithm.unlikely_action_threshold=0.1",), ("algorithm.unlikely_action_threshold=0.5",), True),
        (("algorithm.gamma=0.9", "optimizer.lr=1e-4"), ("optimizer.weight_decay=0.1",), True),
        (("logger=wandb", "logger.tags=[a]"), ("logger=wandb",), True),
        (("logger=csv",), ("logger=wandb",), True),
        (("algorithm=bcq", "dataset=pendulum-noisy", "algorithm.phi=0.1"),
         ("algorithm=bcq", "dataset=pendulum-noisy", "algorithm.lmbda=1"), True),
        ((*IQL, "algorithm.optimizers.value.lr=1e-4"), (*IQL, "algorithm.optimizers.policy.weight_decay=0.1"), True),
        ((*IQL, "algorithm.optimizers.value.eps=1e-4"), IQL, False),
        ((*IQL, "algorithm.optimizers.value.betas=[0.5,0.9]"), IQL, False),
        ((*IQL, "algorithm.optimizers.policy.lr_decay=cosine"), IQL, False),
        (("algorithm.target_update_freq=1",), ("algorithm.target_update_freq=2",), False),
        (("batch_size=32",), ("batch_size=64",), False),
        (("network.hidden_sizes=[8]",), ("network.hidden_sizes=[9]",), False),
        (("algorithm=dqn",), ("algorithm=discrete_bcq",), False),
        (("optimizer=adamw",), ("optimizer=adam",), False),
        (("num_updates=10",), ("num_updates=20",), False),
        (("dataset.reward_scale=10",), (), False),
        (("dataset.reward_clip=[-1,1]",), (), False),
        (("dataset.top_return_fraction=0.1",), (), False),
        (("dataset.normalize_obs=true",), (), False),
    ],
)  # fmt: skip
def test_jobs_that_differ_in_numbers_only_share_a_program(first: tuple, second: tuple, is_shared: bool):
    assert (program(job(*first)) == program(job(*second))) == is_shared


def test_groups_keep_the_order_of_their_first_members():
    jobs = [job(f"algorithm={name}", f"seed={seed}") for seed in range(2) for name in ("dqn", "bc_discrete")]
    assert [[(j.cfg.algorithm.name, j.cfg.schedule.seed) for j in group] for group in groups(jobs)] == [
        [("dqn", 0), ("dqn", 1)],
        [("bc_discrete", 0), ("bc_discrete", 1)],
    ]


@pytest.mark.parametrize(
    ("num_members", "size", "expected"),
    [(8, 8, [8]), (8, 3, [3, 3, 2]), (8, 7, [4, 4]), (5, 4, [3, 2]), (3, 1, [1, 1, 1]), (1, 9, [1])],
)
def test_a_group_is_split_in_the_fewest_parts_that_are_as_equal_as_can_be(num_members: int, size: int, expected: list):
    jobs = [job()] * num_members
    parts = split(jobs, size)
    assert [len(part) for part in parts] == expected


def test_each_dataset_is_read_and_hashed_once_and_groups_keep_their_order(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, discrete_file: Path
):
    data = [discrete_file, shutil.copy(discrete_file, tmp_path / "other.h5")]
    jobs = [
        jobs_on(path, tmp_path, f"algorithm={name}", seeds=[seed])[0]
        for name in ("dqn", "bc_discrete", "discrete_bcq")
        for seed in (0, 1)
        for path in data
    ]
    calls = []
    for place, name in ((grouping, "load_parts"), (datasets, "dataset_digest")):
        own = getattr(place, name)
        noted = lambda *args, name=name, own=own, **keys: calls.append(name) or own(*args, **keys)  # noqa: E731
        monkeypatch.setattr(place, name, noted)
    planned, identities = plan(jobs, tmp_path, HERE)
    assert calls == ["load_parts", "dataset_digest"] * 2
    names = [each.run_dir.name for each in jobs]
    assert [list(group.runs) for group in planned] == [[names[first], names[first + 2]] for first in (0, 1, 4, 5, 8, 9)]
    assert identities.keys() == {*names}


def test_a_group_that_does_not_fit_into_memory_is_split_and_that_is_said(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tmp_path: Path, discrete_file: Path
):
    caplog.set_level("INFO")
    jobs = jobs_on(discrete_file, tmp_path, seeds=range(8))
    found = need(jobs[0].cfg, read_transitions(discrete_file), num_cores())
    available = (found.fixed + 3.5 * found.member) / SHARE  # three members and a half
    monkeypatch.setattr(memory.psutil, "virtual_memory", lambda: SimpleNamespace(available=available, total=2**40))
    planned, _ = plan(jobs, tmp_path, HERE)
    assert [len(group.runs) for group in planned] == [3, 3, 2]
    assert [name for group in planned for name in group.runs] == [each.run_dir.name for each in jobs]
    assert f"each other one {found.member / 1e6:.1f} MB" in caplog.text
    capped, _ = plan(jobs, tmp_path, Launch(executor="inprocess", max_members=2, num_processes=None, options={}))
    assert [len(group.runs) for group in capped] == [2, 2, 2, 2]
    assert list(tmp_path.iterdir()) == []


def test_a_group_has_no_more_members_than_a_process_can_open_files_for(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, discrete_file: Path
):
    monkeypatch.setattr(grouping, "most_runs", lambda: 2)
    assert [len(group.runs) for group in plan(jobs_on(discrete_file, tmp_path), tmp_path, HERE)[0]] == [2, 1]


def test_the_smallest_networks_need_memory_too(discrete_file: Path):
    smallest = ("algorithm=bc_discrete", "network.hidden_sizes=[1]", "batch_size=1")
    (one,) = jobs_on(discrete_file, Path("/sweep"), *smallest, seeds=[0])
    assert need(one.cfg, read_transitions(discrete_file), 1).largest(10**9) > 1000


def test_without_want_of_memory_nothing_is_split_or_said(
    caplog: pytest.LogCaptureFixture, tmp_path: Path, discrete_file: Path
):
    caplog.set_level("INFO")
    assert [len(group.runs) for group in plan(jobs_on(discrete_file, tmp_path), tmp_path, HERE)[0]] == [3]
    assert "memory" not in caplog.text


def test_an_executor_deals_the_gpus_itself(tmp_path: Path, discrete_file: Path):
    pytest.importorskip("submitit")
    (one,) = jobs_on(discrete_file, tmp_path, seeds=[0])
    one.resolved["device"] = "cuda:1"
    launch = Launch(executor="submitit_local", max_members=None, num_processes=None, options={})
    with pytest.raises(ValueError, match=r"device=cuda:1: .* give device=cuda$"):
        plan([one], tmp_path, launch)
