"""Searches whose runs are not trained: a run's returns are a function of its overrides."""

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from optuna.distributions import FloatDistribution

from bcq_exp.search.pruning import Halving
from bcq_exp.search.settings import Settings
from bcq_exp.search.study import Study
from quick import request_of
from trained import write_run

SPACE = {"algorithm.lmbda": FloatDistribution(0.0, 1.0), "algorithm.tau": FloatDistribution(1e-3, 1e-1, log=True)}


def settings_of(**keys: Any) -> Settings:
    usual = {"num_trials": 6, "batch_size": 2, "num_seeds": None, "seeds": None, "sampler": "tpe", "seed": 0,
             "objectives": ["return"], "storage": None, "pruning": "none", "request": request_of("fqe"),
             "space": SPACE}  # fmt: skip
    return Settings(**usual | keys)


def value_of(words: Sequence[str], key: str) -> str:
    (found,) = [word.split("=")[1] for word in words if word.startswith(f"{key}=")]
    return found


def lmbda_and_seed(words: Sequence[str]) -> list[float]:
    """The one evaluation of a run: 100 times lmbda, and its seed."""
    return [100 * float(value_of(words, "algorithm.lmbda")) + int(value_of(words, "seed"))]


class Runs:
    """Writes what a run leaves, without training it.

    Args:
        directory: of all runs.
        returns: those of a run's evaluations, from its overrides; none for one that diverged.
    """

    def __init__(self, directory: Path, returns: Callable[[Sequence[str]], list[float]] = lmbda_and_seed) -> None:
        self.directory, self.returns = directory, returns
        self.asked: list[tuple[int, list[list[str]]]] = []

    def __call__(self, words: list[list[str]], number: int, halving: Halving | None) -> list[Path]:
        self.asked.append((number, words))
        return [self.run(each) for each in words]

    def run(self, words: Sequence[str]) -> Path:
        run_dir = self.directory / hashlib.sha256(" ".join(words).encode()).hexdigest()[:12]
        if not run_dir.exists():
            returns = self.returns(words)
            status = "finished" if returns else "failed"
            write_run(run_dir, algorithm="bcq", seed=int(value_of(words, "seed")), returns=returns, status=status)
        return run_dir


def search(directory: Path, settings: Settings, runs: Runs) -> list[Any]:
    """The trials of a whole search."""
    directory.mkdir(exist_ok=True)
    with Study.opened(settings, directory) as study:
        study.run(runs, ["algorithm=bcq"])
        return study.trials
