import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from hydra._internal.callbacks import Callbacks
from hydra._internal.hydra import Hydra
from hydra._internal.utils import create_config_search_path
from hydra.core.global_hydra import GlobalHydra
from hydra.types import HydraContext

from bcq_exp.analysis.trained_runs import TrainedRun, trained_runs
from bcq_exp.data import write_h5
from bcq_exp.io.source import CONF_DIR
from cases import random_walk
from trained import on_file, train_run
from wandb_server import WandbServer, environment, serving

os.environ["WANDB_MODE"] = "offline"
for name in ("MAKELEVEL", "MAKEFLAGS", "MFLAGS"):  # a `make` that a test runs is no part of the one that runs the tests
    os.environ.pop(name, None)
for signum, usual in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
    if signal.getsignal(signum) == signal.SIG_IGN:  # as `nohup` and a shell's `&` leave them to what they start
        signal.signal(signum, usual)
torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def subnormal_numbers():
    """A run lets its process round them to zero; a test that follows in the same process has them again."""
    yield
    torch.set_flush_denormal(False)


@pytest.fixture(autouse=True)
def service_of_wandb():
    """W&B names the service of this process in the environment; processes that a test starts have their own."""
    yield
    os.environ.pop("WANDB_SERVICE", None)


@pytest.fixture(scope="session")
def discrete_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "discrete.h5"
    write_h5(path, random_walk(20, is_discrete=True), "CartPole-v1", {})
    return path


@pytest.fixture(scope="session")
def continuous_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "continuous.h5"
    write_h5(path, random_walk(20, is_discrete=False), "Pendulum-v1", {})
    return path


@pytest.fixture(scope="session")
def discrete_runs(tmp_path_factory: pytest.TempPathFactory, discrete_file: Path) -> list[TrainedRun]:
    path = tmp_path_factory.mktemp("discrete")
    train_run(path / "a", "algorithm=dqn", "dataset.reward_scale=10", *on_file(discrete_file))
    train_run(path / "b", "algorithm.eval_eps=1.0", "dataset.fraction=0.5", *on_file(discrete_file))
    return sorted(trained_runs(path, "cpu"), key=lambda run: run.directory)


@pytest.fixture(scope="module")
def hydra_context() -> HydraContext:
    """What Hydra gives its launchers and sweepers."""
    GlobalHydra.instance().clear()
    hydra = Hydra.create_main_hydra2("bcq_exp.train", create_config_search_path(CONF_DIR))
    GlobalHydra.instance().clear()
    return HydraContext(config_loader=hydra.config_loader, callbacks=Callbacks())


@pytest.fixture
def wandb_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[WandbServer]:
    """A stand-in for W&B's server, to which W&B's client here and in processes that the test starts is logged in."""
    with serving() as server:
        for name in [name for name in os.environ if name.startswith("WANDB_")]:
            monkeypatch.delenv(name)
        for name, value in environment(server, tmp_path / "home").items():
            monkeypatch.setenv(name, value)
        yield server
        if "wandb" in sys.modules:
            sys.modules["wandb"].teardown()
