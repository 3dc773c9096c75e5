import os
import threading
import time
from pathlib import Path

import pytest
from filelock import FileLock
from omegaconf import OmegaConf

from bcq_exp.io.files import read_json, write_json
from bcq_exp.sweeps import group
from bcq_exp.sweeps.group import Group, read_jobs, run_group, train_group
from bcq_exp.sweeps.grouping import plan
from bcq_exp.sweeps.launch import Launch
from bcq_exp.sweeps.sweep import begin, named
from bcq_exp.training import experiment
from bcq_exp.training.job import Job
from cases import SUMMARY, job

HERE = Launch(executor="inprocess", max_members=None, num_processes=None, options={})

SMALL = ("logger=csv", "num_updates=20", "eval_freq=20", "eval_episodes=1", "batch_size=16", "network.hidden_sizes=[8]",
         "dataset=h5", "dataset.env=CartPole-v1", "num_threads=2", "compile=never")  # fmt: skip


def on_disk(sweep_dir: Path, file: Path, num_members: int = 2) -> tuple[Group, list[Job]]:
    """Runs as the launcher leaves them before they begin, and their group, not compiled and of one thread."""
    jobs = []
    for seed in range(num_members):
        typed = (*SMALL, f"dataset.path={file}", f"seed={seed}")
        jobs.append(job(sweep_dir / f"run{seed}", *typed, sweep=sweep_dir.name))
    made = Group(sweep_dir, [each.run_dir.name for each in jobs], num_threads=1, device="cpu")
    planned, identities = plan(jobs, sweep_dir, HERE)
    begin(planned, named(jobs, sweep_dir), identities, sweep_dir, 0)
    made.write()
    return made, jobs


def test_a_group_takes_what_its_configurations_say_within_the_threads_it_may_have(tmp_path: Path, discrete_file: Path):
    _, jobs = on_disk(tmp_path, discrete_file)
    for max_threads, expected in ((1, 1), (2, 2), (9, 2)):
        made = Group.of(jobs, tmp_path, max_threads=max_threads)
        assert (made.num_threads, made.device) == (expected, "cpu")
        assert made.runs == [job.run_dir.name for job in jobs]


def test_a_manifest_is_read_as_it_was_written_its_order_kept(tmp_path: Path):
    made = Group(tmp_path, ["b", "a"], num_threads=3, device="cuda")
    made.write()
    assert Group.read(made.path) == made
    assert made.path.parent == tmp_path / "groups"
    assert Group(tmp_path, ["a", "b"], num_threads=3, device="cuda").path != made.path


def test_a_process_knows_its_jobs_from_their_directories_alone(tmp_path: Path, discrete_file: Path):
    made, jobs = on_disk(tmp_path, discrete_file)
    read = read_jobs(Group.read(made.path))
    for ours, theirs in zip(jobs, read, strict=True):
        assert vars(theirs.cfg) == vars(ours.cfg)
        assert (theirs.run_dir, theirs.resolved, theirs.overrides, theirs.sweep) == (
            ours.run_dir,
            ours.resolved,
            ours.overrides,
            tmp_path.name,
        )


@pytest.mark.parametrize(
    ("key", "value", "said"), [("seed", 9, "seed: 1 before, 9 now"), ("batch_size", 0, "batch_size")]
)
def test_a_configuration_from_disk_is_checked(tmp_path: Path, discrete_file: Path, key: str, value: int, said: str):
    made, jobs = on_disk(tmp_path, discrete_file)
    path = jobs[1].run_dir / ".hydra" / "config.yaml"
    cfg = OmegaConf.load(path)
    cfg[key] = value
    OmegaConf.save(cfg, path)
    with pytest.raises(ValueError, match=said):
        train_group(made, read_jobs(made))
    assert not (jobs[0].run_dir / "metrics.csv").exists()


def test_a_process_trains_as_the_manifest_says_and_keeps_a_log(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, discrete_file: Path
):
    made, jobs = on_disk(tmp_path, discrete_file)
    monkeypatch.setattr(group.logging, "basicConfig", lambda **_: None)  # pytest has the root logger
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    run_group(str(made.path), "1")
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "1"
    summaries = [read_json(job.run_dir / "summary.json") for job in jobs]
    assert [(each["num_members"], each["is_compiled"]) for each in summaries] == [(2, False)] * 2
    assert [read_json(job.run_dir / "manifest.json")["num_threads"] for job in jobs] == [1, 1]
    assert made.has_ended()
    (jobs[1].run_dir / "summary.json").unlink()
    assert not made.has_ended()


def test_a_group_that_another_process_runs_is_waited_for_and_not_run_again(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tmp_path: Path, discrete_file: Path
):
    caplog.set_level("INFO")
    made, jobs = on_disk(tmp_path, discrete_file)
    monkeypatch.setattr(group, "build", lambda jobs: pytest.fail("it has ended by then"))
    ours = threading.Thread(target=train_group, args=(made, jobs))
    with FileLock(made.path.with_suffix(".lock")):
        ours.start()
        deadline = time.monotonic() + 60
        while "waiting for its end" not in caplog.text and time.monotonic() < deadline:
            time.sleep(0.01)
        for job in jobs:
            write_json(job.run_dir / "summary.json", SUMMARY)
        assert ours.is_alive()
    ours.join(timeout=60)
    assert not ours.is_alive()


def test_a_group_is_described_by_what_it_trains_and_where_it_stands(tmp_path: Path, discrete_file: Path):
    made, jobs = on_disk(tmp_path, discrete_file)
    assert group.describe(jobs) == "discrete_bcq on h5, 2 members"
    trainer = experiment.build([group._as_begun(job, made) for job in jobs])
    trainer.run()
    assert group.describe(jobs) == "discrete_bcq on h5, 2 members, from update_00000020"
