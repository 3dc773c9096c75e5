"""Jobs of small sweeps, for the tests of the room."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import cases
from bcq_exp.io.files import read_json
from bcq_exp.sweeps.launch import Launch
from bcq_exp.training.config import digest
from bcq_exp.training.job import Job

HERE = Launch(executor="inprocess", max_members=None, num_processes=None, options={})
SMALL = ("logger=csv", "num_updates=20", "eval_freq=20", "eval_episodes=1", "batch_size=16", "network.hidden_sizes=[8]")


def job(*overrides: str, sweep_dir: Path = Path("/sweep")) -> Job:
    made = cases.job(sweep_dir, *overrides, sweep=sweep_dir.name)
    return replace(made, run_dir=sweep_dir / f"run-{digest(made.resolved)[:8]}")


def jobs_on(file: Path, sweep_dir: Path, *overrides: str, seeds: Sequence[int] = (0, 1, 2)) -> list[Job]:
    data = ("dataset=h5", f"dataset.path={file}", "dataset.env=CartPole-v1")
    return [job(*SMALL, *data, *overrides, f"seed={seed}", sweep_dir=sweep_dir) for seed in seeds]


def threads(directory: Path) -> set[int]:
    """The numbers of threads that the runs below a directory had."""
    return {read_json(path)["num_threads"] for path in directory.rglob("manifest.json")}
