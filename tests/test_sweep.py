from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import pytest
from omegaconf import OmegaConf

from bcq_exp import memory, sweep
from bcq_exp.config import check, digest
from bcq_exp.data import read_transitions
from bcq_exp.experiment import Job
from bcq_exp.files import read_json, write_json
from bcq_exp.group import Group
from bcq_exp.launch import Launch
from bcq_exp.memory import SHARE, need
from bcq_exp.sweep import GroupsDied, begun_groups, groups, named, plan, program, split
from cases import composed

HERE = Launch(executor="inprocess", max_members=None, num_processes=None, options={})
SMALL = ("num_updates=20", "eval_freq=20", "eval_episodes=1", "batch_size=16", "network.hidden_sizes=[8]")


def job(*overrides: str, sweep_dir: Path = Path("/sweep")) -> Job:
    cfg = composed(*overrides)
    resolved = OmegaConf.to_container(cfg, resolve=True)
    return Job(check(cfg), sweep_dir / f"run-{digest(resolved)[:8]}", resolved, overrides, sweep_dir.name)


def jobs_on(file: Path, sweep_dir: Path, *overrides: str, seeds: Sequence[int] = (0, 1, 2)) -> list[Job]:
    data = ("dataset=h5", f"dataset.path={file}", "dataset.env=CartPole-v1")
    return [job(*SMALL, *data, *overrides, f"seed={seed}", sweep_dir=sweep_dir) for seed in seeds]


@pytest.mark.parametrize(
    ("first", "second", "is_shared"),
    [
        (("seed=0",), ("seed=1",), True),
        (("algorithm.unlikely_action_threshold=0.1",), ("algorithm.unlikely_action_threshold=0.5",), True),
        (("algorithm.gamma=0.9", "optimizer.lr=1e-4"), ("optimizer.weight_decay=0.1",), True),
        (("logger.tags=[a]",), ("logger=wandb",), True),
        (("algorithm=bcq", "dataset=pendulum-noisy", "algorithm.phi=0.1"),
         ("algorithm=bcq", "dataset=pendulum-noisy", "algorithm.lmbda=1"), True),
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


def test_a_group_that_does_not_fit_into_memory_is_split_and_that_is_said(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tmp_path: Path, discrete_file: Path
):
    caplog.set_level("INFO")
    jobs = jobs_on(discrete_file, tmp_path, seeds=range(8))
    found = need(jobs[0].cfg, read_transitions(discrete_file))
    available = (found.fixed + 3.5 * found.member) / SHARE  # three members and a half
    monkeypatch.setattr(memory.psutil, "virtual_memory", lambda: SimpleNamespace(available=available, total=2**40))
    planned = plan(jobs, tmp_path, HERE)
    assert [len(group.runs) for group in planned] == [3, 3, 2]
    assert [name for group in planned for name in group.runs] == [each.run_dir.name for each in jobs]
    assert f"each other one {found.member / 1e6:.1f} MB" in caplog.text
    capped = plan(jobs, tmp_path, Launch(executor="inprocess", max_members=2, num_processes=None, options={}))
    assert [len(group.runs) for group in capped] == [2, 2, 2, 2]
    assert list(tmp_path.iterdir()) == []


def test_without_want_of_memory_nothing_is_split_or_said(
    caplog: pytest.LogCaptureFixture, tmp_path: Path, discrete_file: Path
):
    caplog.set_level("INFO")
    assert [len(group.runs) for group in plan(jobs_on(discrete_file, tmp_path), tmp_path, HERE)] == [3]
    assert "memory" not in caplog.text


def test_an_executor_deals_the_gpus_itself(tmp_path: Path, discrete_file: Path):
    pytest.importorskip("submitit")
    (one,) = jobs_on(discrete_file, tmp_path, seeds=[0])
    one.resolved["device"] = "cuda:1"
    launch = Launch(executor="submitit_local", max_members=None, num_processes=None, options={})
    with pytest.raises(ValueError, match=r"device=cuda:1: .* give device=cuda$"):
        plan([one], tmp_path, launch)


def test_a_jobs_identity_is_its_configuration():
    assert digest(job("seed=1").resolved) == digest(job("seed=1", "batch_size=64").resolved)
    assert digest(job("seed=1").resolved) != digest(job("seed=2").resolved)


def test_two_runs_that_differ_cannot_have_one_directory():
    first, second = job("seed=1"), job("seed=2")
    twin = Job(second.cfg, first.run_dir, second.resolved, second.overrides)
    assert named([first, first, second], Path("/sweep")) == {first.run_dir.name: first, second.run_dir.name: second}
    with pytest.raises(ValueError, match=r"have the directory /sweep/run-.*hydra.sweep.subdir"):
        named([first, twin], Path("/sweep"))


def test_what_began_goes_on_as_its_manifests_say_whatever_would_be_chosen_now(tmp_path: Path, discrete_file: Path):
    jobs = jobs_on(discrete_file, tmp_path, "compile=always", "num_threads=2")
    for each in jobs:
        each.run_dir.mkdir()
    names = [each.run_dir.name for each in jobs]
    known = {name: digest(each.resolved) for name, each in zip(names, jobs, strict=True)}
    members = [[names[2], names[0]], [names[1]]]
    begun = [
        Group(tmp_path, {name: known[name] for name in part}, num_threads=1, is_compiled=False, device="cpu")
        for part in members
    ]
    sweep.begin(begun, tmp_path, 0)
    written = {path: path.read_bytes() for path in tmp_path.rglob("*.json")}
    summaries = sweep.run(jobs[::-1], tmp_path, HERE, batch=0)  # typed in another order
    assert [(each["seed"], each["num_members"]) for each in summaries] == [(2, 2), (1, 1), (0, 2)]
    assert not any(each["is_compiled"] for each in summaries)
    assert [read_json(each.run_dir / "manifest.json")["num_threads"] for each in jobs] == [1, 1, 1]
    assert all(path.read_bytes() == content for path, content in written.items())
    assert [list(group.runs) for group in begun_groups(tmp_path, 0, named(jobs, tmp_path))] == members


def test_another_batch_of_a_sweep_begins_beside_the_first(tmp_path: Path, discrete_file: Path):
    jobs = jobs_on(discrete_file, tmp_path)
    for batch, some in ((0, jobs[:2]), (2, jobs[2:])):
        sweep.begin(plan(some, tmp_path, HERE), tmp_path, batch)
    found = [begun_groups(tmp_path, batch, named(some, tmp_path)) for batch, some in ((0, jobs[:2]), (2, jobs[2:]))]
    assert [[len(group.runs) for group in groups] for groups in found] == [[2], [1]]
    assert begun_groups(tmp_path, 3, named(jobs, tmp_path)) == []


def test_a_changed_sweep_refuses_to_go_on_and_says_why(tmp_path: Path, discrete_file: Path):
    jobs = jobs_on(discrete_file, tmp_path)
    sweep.begin(plan(jobs, tmp_path, HERE), tmp_path, 0)
    assert len(begun_groups(tmp_path, 0, named(jobs, tmp_path))) == 1
    for others in (jobs[:2], jobs_on(discrete_file, tmp_path, seeds=(0, 1, 3))):
        with pytest.raises(ValueError, match=r"its configuration has changed .* resume=false"):
            begun_groups(tmp_path, 0, named(others, tmp_path))
    account = read_json(tmp_path / "sweep.json")
    write_json(tmp_path / "sweep.json", account | {"source_sha256": "other"})
    with pytest.raises(ValueError, match=r"the code has changed .* resume=false"):
        begun_groups(tmp_path, 0, named(jobs, tmp_path))


def test_a_sweep_that_no_run_of_has_begun_leaves_nothing(tmp_path: Path, discrete_file: Path):
    jobs = jobs_on(discrete_file, tmp_path / "sweep", "algorithm.reward_normalization=true")
    planned = plan(jobs, tmp_path / "sweep", HERE)
    sweep.begin(planned, tmp_path / "sweep", 0)
    assert sorted(path.name for path in (tmp_path / "sweep").iterdir()) == ["groups", "sweep.json"]
    sweep.forget(tmp_path / "sweep")
    assert list((tmp_path / "sweep").iterdir()) == []
    sweep.begin(planned, tmp_path / "sweep", 0)
    jobs[0].run_dir.mkdir()
    (jobs[0].run_dir / "manifest.json").write_text("{}")
    sweep.forget(tmp_path / "sweep")
    assert (tmp_path / "sweep" / "sweep.json").exists()


def test_what_died_is_told_after_all_that_ended_is_written(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, discrete_file: Path
):
    pytest.importorskip("submitit")
    jobs = jobs_on(discrete_file, tmp_path, seeds=(0, 1))
    for each in jobs:
        each.run_dir.mkdir()
    launch = Launch(executor="submitit_local", max_members=1, num_processes=None, options={})
    asked = []

    def one_dies(groups: Sequence[Group], launch: Launch, sweep_dir: Path) -> list[str]:
        asked.append([list(group.runs) for group in groups])
        sweep.train(groups[-1], [each for each in jobs if each.run_dir.name in groups[-1].runs])
        return ["group 1: see its log"] if len(groups) == 2 else []

    monkeypatch.setattr(sweep, "run_groups", one_dies)
    with pytest.raises(GroupsDied, match="1 of 2 groups died; the same command goes on\ngroup 1: see its log"):
        sweep.run(jobs, tmp_path, launch, batch=0)
    assert len((tmp_path / "sweep.csv").read_text().splitlines()) == 2
    assert [each["seed"] for each in sweep.run(jobs, tmp_path, launch, batch=0)] == [0, 1]
    assert asked == [[[jobs[0].run_dir.name], [jobs[1].run_dir.name]], [[jobs[0].run_dir.name]]]
    assert len((tmp_path / "sweep.csv").read_text().splitlines()) == 3
