"""Configurations and data that many tests start from."""

import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from hydra import compose, initialize_config_dir
from hypothesis import strategies as st
from omegaconf import DictConfig, OmegaConf

from bcq_exp.data import Transitions
from bcq_exp.io.source import CONF_DIR
from bcq_exp.training.config import RunConfig, check
from bcq_exp.training.job import Job

REPLAYS = Path(__file__).parents[2] / "shared" / "data"  # real files beside the checkout; tests skip where they miss


def composed(*overrides: str, config: str = "config", hydra: bool = False) -> DictConfig:
    """The configuration of a command line, with Hydra's own part or without."""
    with initialize_config_dir(CONF_DIR, version_base="1.3"):
        return compose(config, overrides=list(overrides), return_hydra_config=hydra)


def checked(*overrides: str) -> RunConfig:
    return check(composed(*overrides))


def job(run_dir: Path, *overrides: str, sweep: str | None = None) -> Job:
    """A run to be made, as the entry points make it of a command line."""
    cfg = composed(*overrides)
    resolved: Any = OmegaConf.to_container(cfg, resolve=True)
    return Job(check(cfg), run_dir, resolved, overrides, sweep)


# The keys that every summary has.
SUMMARY = {
    "algorithm": "dqn", "dataset": "h5", "env": "CartPole-v1", "seed": 0, "overrides": ["seed=0"],
    "behaviour_return": 1.5, "status": "finished", "num_updates": 20, "final_return": 9.0,
    "final_normalized_score": None, "updates_per_second": 100.0,
}  # fmt: skip


def random_walk(num_episodes: int, *, is_discrete: bool, seed: int = 0) -> Transitions:
    """Episodes of 20 rows that look like CartPole's or Pendulum's; every second one ends in a time limit."""
    rng = np.random.default_rng(seed)
    num_rows, obs_dim = 20 * num_episodes, 4 if is_discrete else 3
    ends = np.arange(num_rows) % 20 == 19
    failed = ends & (np.arange(num_rows) // 20 % 2 == 0)
    return Transitions.from_columns(
        {
            "obs": rng.uniform(-0.2, 0.2, (num_rows, obs_dim)).astype(np.float32),
            "act": rng.integers(2, size=num_rows) if is_discrete else rng.uniform(-2, 2, (num_rows, 1)),
            "rew": rng.normal(size=num_rows),
            "terminated": failed,
            "truncated": ends & ~failed,
            "obs_next": rng.uniform(-0.2, 0.2, (num_rows, obs_dim)).astype(np.float32),
        },
        "random walk",
    )


def write_datasets(path: Path, columns: Mapping[str, Any]) -> Path:
    """An HDF5 file of these datasets; what is None is left out."""
    with h5py.File(path, "w") as file:
        file.update({key: column for key, column in columns.items() if column is not None})
    return path


def read_cut(whole: Path, read: Callable[[Path], Transitions], data: st.DataObject) -> Transitions | None:
    """Transitions of a file that is cut anywhere; None where the reader refuses it, in one line that names the file."""
    cut = shutil.copyfile(whole, whole.with_name(f"cut{whole.suffix}"))
    os.truncate(cut, data.draw(st.integers(0, whole.stat().st_size)))
    try:
        return read(cut)
    except ValueError as error:
        message = str(error)
    assert message.startswith(f"{cut}: ")
    assert "\n" not in message
    return None
