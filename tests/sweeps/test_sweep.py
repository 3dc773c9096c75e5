import csv
import re
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import h5py
import pytest

from bcq_exp.analysis.report import FILES
from bcq_exp.io.files import read_json
from bcq_exp.sweeps import sweep
from bcq_exp.sweeps.executors.submitit import SubmititLocal
from bcq_exp.sweeps.group import Group
from bcq_exp.sweeps.grouping import plan
from bcq_exp.sweeps.launch import Launch
from bcq_exp.sweeps.sweep import GroupsDied, named
from bcq_exp.training import identity
from bcq_exp.training.config import digest
from bcq_exp.training.job import Job
from cases import SUMMARY
from sweeps.sweep_jobs import HERE, job, jobs_on


def began(jobs: Sequence[Job], sweep_dir: Path, batch: int = 0) -> list[Group]:
    planned, identities = plan(jobs, sweep_dir, HERE)
    return sweep.begin(planned, named(jobs, sweep_dir), identities, sweep_dir, batch)[0]


def refused(jobs: Sequence[Job], sweep_dir: Path) -> str:
    with pytest.raises(ValueError) as error:
        began(jobs, sweep_dir)
    return str(error.value)


def test_a_jobs_identity_is_its_configuration():
    assert digest(job("seed=1").resolved) == digest(job("seed=1", "batch_size=64").resolved)
    assert digest(job("seed=1").resolved) != digest(job("seed=2").resolved)


def test_two_runs_that_differ_cannot_have_one_directory():
    first, second = job("seed=1"), job("seed=2")
    twin = Job(second.cfg, first.run_dir, second.resolved, second.overrides)
    assert named([first, first, second], Path("/sweep")) == {first.run_dir.name: first, second.run_dir.name: second}
    with pytest.raises(ValueError, match=r"have the directory /sweep/run-.*hydra.sweep.subdir"):
        named([first, twin], Path("/sweep"))


def test_what_began_goes_on_in_the_groups_that_it_began_with(tmp_path: Path, discrete_file: Path):
    jobs = jobs_on(discrete_file, tmp_path, "num_threads=2")
    one_by_one = Launch(executor="inprocess", max_members=1, num_processes=None, options={})
    planned, identities = plan([jobs[2], jobs[0], jobs[1]], tmp_path, one_by_one)
    sweep.begin(planned, named(jobs, tmp_path), identities, tmp_path, 0)
    begun = began(jobs[::-1], tmp_path)  # typed in another order, with room for all of them in one group
    names = [each.run_dir.name for each in jobs]
    assert [group.runs for group in begun] == [[names[2]], [names[0]], [names[1]]]
    summaries = sweep.run(jobs[::-1], tmp_path, HERE, batch=0)
    assert [(each["seed"], each["num_members"]) for each in summaries] == [(2, 1), (1, 1), (0, 1)]


def test_another_batch_of_a_sweep_begins_beside_the_first(tmp_path: Path, discrete_file: Path):
    jobs = jobs_on(discrete_file, tmp_path)
    for _ in range(2):
        assert [len(group.runs) for group in began(jobs[:2], tmp_path)] == [2]
        assert [len(group.runs) for group in began(jobs[2:], tmp_path, batch=2)] == [1]
    assert sorted(read_json(tmp_path / "sweep.json")["batches"]) == ["0", "2"]


def test_a_changed_sweep_refuses_to_go_on_and_says_what_has_changed(tmp_path: Path, discrete_file: Path):
    data = shutil.copy(discrete_file, tmp_path / "data.h5")
    sweep_dir = tmp_path / "sweep"
    jobs = jobs_on(data, sweep_dir)
    began(jobs, sweep_dir)
    assert len(began(jobs, sweep_dir)) == 1
    assert "seed: 0, 1, 2 before, 0, 1 now" in refused(jobs[:2], sweep_dir)
    assert "seed: 0, 1, 2 before, 0, 1, 3 now" in refused(jobs_on(data, sweep_dir, seeds=(0, 1, 3)), sweep_dir)
    assert "optimizer.lr: 0.001 before, 0.1 now" in refused(jobs_on(data, sweep_dir, "optimizer.lr=0.1"), sweep_dir)
    written = {path: path.read_bytes() for path in sweep_dir.rglob("*.json")}
    with h5py.File(data, "r+") as file:
        file["rew"][3] += 1
    message = refused(jobs, sweep_dir)
    assert message.endswith("now\nresume=false puts the sweep aside and begins anew")
    assert message.count("\n  ") == 1
    assert (
        f"{jobs[0].run_dir} and 2 more hold other runs than what is asked for:\n  the data has changed: sha256 "
        in message
    )
    assert {path: path.read_bytes() for path in sweep_dir.rglob("*.json")} == written


def test_a_sweep_of_which_only_other_words_are_asked_for_says_these(tmp_path: Path, discrete_file: Path):
    began(jobs_on(discrete_file, tmp_path, seeds=(0, 1)), tmp_path)
    message = refused(jobs_on(discrete_file, tmp_path, "storage=memory", "num_threads=2", seeds=(0, 1)), tmp_path)
    assert message.count("\n  ") == 1
    assert re.search(r"\n  typed: logger=csv .* seed=0 seed=1 before, logger=csv .*num_threads=2 .*now\n", message)


def test_a_sweep_whose_runs_are_gone_says_so(tmp_path: Path, discrete_file: Path):
    jobs, others = jobs_on(discrete_file, tmp_path, seeds=(0, 1)), jobs_on(discrete_file, tmp_path, seeds=(2,))
    began(jobs, tmp_path)
    shutil.rmtree(jobs[1].run_dir)
    assert "\n  seed: 0 before, 2 now\n  the folders of 1 of its 2 runs are gone\n" in refused(others, tmp_path)
    shutil.rmtree(jobs[0].run_dir)
    names = ", ".join(each.run_dir.name for each in jobs)
    assert f"\n  runs: {names} before, whose folders are gone\n  runs: {others[0].run_dir.name} now\n" in refused(
        others, tmp_path
    )
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_dir()) == ["groups"]


def test_a_sweep_that_other_code_began_goes_on_where_that_is_allowed(
    tmp_path: Path, discrete_file: Path, monkeypatch: pytest.MonkeyPatch
):
    jobs = jobs_on(discrete_file, tmp_path, seeds=(0,))
    monkeypatch.setattr(identity, "source_digest", lambda: "a" * 64)
    began(jobs, tmp_path)
    monkeypatch.undo()
    assert "the code has changed: aaaaaaaaaaaa before" in refused(jobs, tmp_path)
    allowed = jobs_on(discrete_file, tmp_path, "allow_code_change=true", seeds=(0,))
    allowed = [replace(each, run_dir=jobs[0].run_dir) for each in allowed]
    sweep.run(allowed, tmp_path, HERE, batch=0)
    sweep.run(jobs, tmp_path, HERE, batch=0)  # by the code that went on with it


def test_a_sweep_that_cannot_begin_leaves_what_was_there_and_nothing_else(tmp_path: Path, discrete_file: Path):
    sweep_dir = tmp_path / "sweep"
    jobs = jobs_on(discrete_file, sweep_dir)
    (jobs[1].run_dir / ".hydra").mkdir(parents=True)
    (jobs[1].run_dir / "metrics.csv").write_text("mine")
    assert "has metrics.csv, .hydra but no manifest.json" in refused(jobs, sweep_dir)
    assert sorted(path.name for path in sweep_dir.rglob("*")) == [".hydra", "metrics.csv", jobs[1].run_dir.name]


def test_runs_that_cannot_use_the_data_leave_what_was_there_and_nothing_else(
    tmp_path: Path, discrete_file: Path, monkeypatch: pytest.MonkeyPatch
):
    def unusable(*_: object) -> None:
        raise ValueError("cannot be used")

    sweep_dir = tmp_path / "sweep"
    sweep_dir.mkdir()
    (sweep_dir / "notes.txt").write_text("mine")
    monkeypatch.setattr(sweep, "train_group", unusable)
    with pytest.raises(ValueError, match="cannot be used"):
        sweep.run(jobs_on(discrete_file, sweep_dir), sweep_dir, HERE, batch=0)
    assert [path.name for path in sweep_dir.rglob("*")] == ["notes.txt"]


def test_only_what_a_sweep_wrote_is_put_aside(tmp_path: Path, discrete_file: Path):
    sweep_dir = tmp_path / "sweep"
    jobs = jobs_on(discrete_file, sweep_dir, seeds=(0, 1))
    sweep.run(jobs, sweep_dir, HERE, batch=0)
    (sweep_dir / "notes.txt").write_text("mine")
    (tmp_path / "sweep-aside").mkdir()
    sweep.put_aside(sweep_dir)
    assert [path.name for path in sweep_dir.iterdir()] == ["notes.txt"]
    assert not any((tmp_path / "sweep-aside").iterdir())
    aside = tmp_path / "sweep-aside-2"
    assert {"sweep.json", "sweep.csv", "groups", *FILES, *(each.run_dir.name for each in jobs)} == {
        path.name for path in aside.iterdir()
    }


def test_what_died_is_told_after_all_that_ended_is_written(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, discrete_file: Path
):
    pytest.importorskip("submitit")
    jobs = jobs_on(discrete_file, tmp_path, seeds=(0, 1))
    launch = Launch(executor="submitit_local", max_members=1, num_processes=None, options={})
    asked = []

    def one_dies(_: SubmititLocal, groups: Sequence[Group], *__: object) -> list[str]:
        asked.append([list(group.runs) for group in groups])
        sweep.train_group(groups[-1], [each for each in jobs if each.run_dir.name in groups[-1].runs])
        return ["group 1: see its log"] if len(groups) == 2 else []

    monkeypatch.setattr(SubmititLocal, "run", one_dies)
    with pytest.raises(GroupsDied, match="1 of 2 groups died; the same command goes on\ngroup 1: see its log"):
        sweep.run(jobs, tmp_path, launch, batch=0)
    assert len((tmp_path / "sweep.csv").read_text().splitlines()) == 2
    assert [each["seed"] for each in sweep.run(jobs, tmp_path, launch, batch=0)] == [0, 1]
    assert asked == [[[jobs[0].run_dir.name], [jobs[1].run_dir.name]], [[jobs[0].run_dir.name]]]
    assert len((tmp_path / "sweep.csv").read_text().splitlines()) == 3


def test_the_best_run_comes_first_by_its_return_or_its_estimate(tmp_path: Path):
    found = {"a": (None, 2.0), "b": (None, None), "c": (None, 3.0)}
    summaries = [
        {**SUMMARY, "algorithm": name, "final_return": played, "final_estimate": estimate, "final_estimator": "fqe"}
        for name, (played, estimate) in found.items()
    ]
    sweep.write_csv(tmp_path / "sweep.csv", summaries)
    with (tmp_path / "sweep.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["algorithm"], row["final_return"], row["final_estimate"]) for row in rows] == [
        ("c", "", "3.0"), ("a", "", "2.0"), ("b", "", ""),
    ]  # fmt: skip
