"""Small runs that have ended, as the sweep leaves them."""

from pathlib import Path

from omegaconf import OmegaConf

from bcq_exp import experiment
from bcq_exp.config import check
from bcq_exp.experiment import Job
from cases import composed

SMALL = ("num_updates=20", "eval_freq=20", "eval_episodes=2", "batch_size=16", "network.hidden_sizes=[8]",
         "num_threads=1")  # fmt: skip


def train_run(run_dir: Path, *typed: str) -> Path:
    """A run of 20 updates."""
    cfg = composed(*SMALL, *typed)
    (run_dir / ".hydra").mkdir(parents=True)
    OmegaConf.save(cfg, run_dir / ".hydra" / "config.yaml")
    OmegaConf.save(list(typed), run_dir / ".hydra" / "overrides.yaml")
    resolved = OmegaConf.to_container(cfg, resolve=True)
    experiment.build([Job(check(cfg), run_dir, resolved, typed)]).run()
    return run_dir


def on_file(path: Path, env: str = "CartPole-v1") -> tuple[str, ...]:
    return ("dataset=h5", f"dataset.path={path}", f"dataset.env={env}")
