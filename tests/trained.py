"""Small runs that have ended, as the sweep leaves them."""

import csv
from dataclasses import replace
from pathlib import Path
from typing import Any

from bcq_exp.io.files import write_json
from bcq_exp.training.experiment import build
from cases import job

SMALL = ("logger=csv", "num_updates=20", "eval_freq=20", "eval_episodes=2", "batch_size=16", "network.hidden_sizes=[8]",
         "num_threads=1")  # fmt: skip


def train_run(run_dir: Path, *typed: str) -> Path:
    """A run of 20 updates."""
    made = job(run_dir, *SMALL, *typed)
    build([replace(made, overrides=typed)]).run()
    return run_dir


def on_file(path: Path, env: str = "CartPole-v1") -> tuple[str, ...]:
    return ("dataset=h5", f"dataset.path={path}", f"dataset.env={env}")


def write_run(directory: Path, *, algorithm: str, seed: int, returns: list[float], status: str = "finished",
             typed: tuple[str, ...] = (), **facts: Any) -> None:  # fmt: skip
    """What a run that has ended leaves for the report: its summary and its metrics, an evaluation each 10 updates."""
    directory.mkdir(parents=True)
    summary = {
        "algorithm": algorithm,
        "dataset": "cartpole-noisy",
        "env": "CartPole-v1",
        "seed": seed,
        "overrides": ["experiment=main", f"seed={seed}", "eval_freq=10", *typed],
        "behaviour_return": 50.0,
        "status": status,
        "num_updates": 10 * len(returns),
        "final_return": returns[-1] if returns else None,
        "final_normalized_score": returns[-1] / 10 if returns else None,
        "updates_per_second": 100.0,
        **facts,
    }
    write_json(directory / "summary.json", summary)
    with (directory / "metrics.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["update", "train/loss", "eval/return"])
        writer.writerow([5, 1.0, ""])
        writer.writerows([[10 * (i + 1), 1.0, value] for i, value in enumerate(returns)])
