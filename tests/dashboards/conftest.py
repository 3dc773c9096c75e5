import argparse
from collections.abc import Callable
from pathlib import Path

import pytest

from bcq_exp.dashboards.subject import Subject, from_directories
from bcq_exp.io.wandb_runs import LIMITS
from trained import write_run
from uploaded import label
from wandb_server import WandbServer

THRESHOLDS = ("0.1", "0.3")
SOON = {"TIMEOUT_SECONDS": "2", "RETRY_MAX": "1", "RETRY_WAIT_MIN_SECONDS": "0.1", "RETRY_WAIT_MAX_SECONDS": "0.2"}


@pytest.fixture
def impatient(wandb_server: WandbServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """W&B's client gives up soon, runs are offline (they are uploaded all the same), and tables are wide."""
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("COLUMNS", "400")
    for name in LIMITS:
        monkeypatch.setenv(name, next(value for end, value in SOON.items() if name.endswith(end)))


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    """Runs of discrete BCQ with two thresholds and of DQN, three seeds each, and what W&B calls them."""
    folder = tmp_path / "sweep"
    for seed in range(3):
        for place, threshold in enumerate(THRESHOLDS):
            typed = (f"algorithm.unlikely_action_threshold={threshold}",)
            returns = [1.0, 20.0 * (place + 1) + seed]
            write_run(folder / f"bcq{place}-{seed}", algorithm="discrete_bcq", seed=seed, returns=returns, typed=typed)
        write_run(folder / f"dqn-{seed}", algorithm="dqn", seed=seed, returns=[1.0, 9.0 + seed])
    label(folder, group="sweep")
    return folder


@pytest.fixture
def subject() -> Callable[..., Subject]:
    """The subject of some directories."""

    def made(*directories: Path, entity: str | None = None, project: str | None = None) -> Subject:
        return from_directories(directories, argparse.Namespace(entity=entity, project=project))

    return made
