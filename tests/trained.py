"""Small runs that have ended, as the sweep leaves them."""

from dataclasses import replace
from pathlib import Path

from bcq_exp.training.experiment import build
from cases import job

SMALL = ("num_updates=20", "eval_freq=20", "eval_episodes=2", "batch_size=16", "network.hidden_sizes=[8]",
         "num_threads=1")  # fmt: skip


def train_run(run_dir: Path, *typed: str) -> Path:
    """A run of 20 updates."""
    made = job(run_dir, *SMALL, *typed)
    build([replace(made, overrides=typed)]).run()
    return run_dir


def on_file(path: Path, env: str = "CartPole-v1") -> tuple[str, ...]:
    return ("dataset=h5", f"dataset.path={path}", f"dataset.env={env}")
