"""An action that is not available is neither learned nor taken, in training, evaluation and estimates."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from bcq_exp.analysis.trained_runs import load_policy, trained_runs
from bcq_exp.data import Transitions, read_transitions, write_h5
from bcq_exp.envs.environments import make_env, spaces
from bcq_exp.envs.masks import gives_masks
from bcq_exp.ope.action_table import tabulate
from bcq_exp.selection.estimation import estimate
from bcq_exp.selection.request import checked_request
from bcq_exp.training import experiment
from bcq_exp.training.config import check
from bcq_exp.training.experiment import Job
from cases import composed
from trained import on_file, train_run

ALGORITHMS = ("discrete_bcq", "discrete_cql", "kl_control algorithm.backup=q", "spibb_dqn")


class Strict(gym.Wrapper):
    """Fails where an action is taken that Taxi's mask excludes."""

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        obs, info = self.env.reset(seed=seed, options=options)
        self.mask = info["action_mask"]
        return obs, info

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        assert self.mask[action], "an unavailable action was taken"
        obs, rew, terminated, truncated, info = self.env.step(action)
        self.mask = info["action_mask"]
        return obs, rew, terminated, truncated, info


class Silent(gym.Wrapper):
    """Taxi as it was before it had masks."""

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        return self.env.reset(seed=seed, options=options)[0], {}

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        return *self.env.step(action)[:-1], {}


@pytest.fixture(autouse=True)
def _taxis() -> Iterator[None]:
    for name, wrapper in {"StrictTaxi-v0": Strict, "SilentTaxi-v0": Silent}.items():
        gym.register(name, lambda wrapper=wrapper: wrapper(gym.make("Taxi-v4").unwrapped), max_episode_steps=30)
    yield
    for name in ("StrictTaxi-v0", "SilentTaxi-v0"):
        del gym.registry[name]
    spaces.cache_clear()
    gives_masks.cache_clear()


@pytest.fixture
def taxi_file(tmp_path: Path) -> Path:
    """Forty episodes of random play among the available actions, with their masks."""
    env, rng, rows = make_env("StrictTaxi-v0"), np.random.default_rng(0), []
    for seed in range(40):
        (obs, info), is_over = env.reset(seed=seed), False
        while not is_over:
            act = int(rng.choice(np.flatnonzero(info["action_mask"])))
            obs_next, rew, terminated, truncated, info_next = env.step(act)
            masks = info["action_mask"], info_next["action_mask"]
            rows.append((obs, act, rew, terminated, truncated, obs_next, *masks))
            obs, info, is_over = obs_next, info_next, terminated or truncated
    names = ("obs", "act", "rew", "terminated", "truncated", "obs_next", "mask", "mask_next")
    columns = {name: np.array(column) for name, column in zip(names, zip(*rows, strict=True), strict=True)}
    write_h5(tmp_path / "taxi.h5", Transitions.from_columns(columns, "taxi"), "StrictTaxi-v0", {})
    return tmp_path / "taxi.h5"


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_run_with_masks_takes_no_unavailable_action_and_is_estimated_without(
    algorithm: str, taxi_file: Path, tmp_path: Path
) -> None:
    """The environment fails where one is taken, exploration included; no estimator gives one a probability."""
    name, *typed = algorithm.split()
    run_dir = tmp_path / "run"
    train_run(run_dir, f"algorithm={name}", "algorithm.eval_eps=0.5", *typed, *on_file(taxi_file, "StrictTaxi-v0"))
    request = checked_request(
        composed(
            f"run={run_dir}", "ope=[fqe,wis,dr]", "num_updates=20", "batch_size=16", "num_threads=1", config="evaluate"
        )
    )
    (run,) = trained_runs(run_dir, "cpu")
    (worth,) = estimate([run], request)
    assert all(np.isfinite(value) for value in worth.values())
    data = read_transitions(taxi_file)
    assert data.mask is not None
    assert (tabulate(load_policy(run), data.obs, data.mask)[~data.mask] == 0).all()


def job(path: Path, env: str, run_dir: Path) -> Job:
    cfg = composed("num_updates=10", "batch_size=16", "num_threads=1", *on_file(path, env))
    return Job(check(cfg), run_dir, {}, ())


def test_masks_that_the_environment_does_not_have_are_refused_before_a_run_begins(
    taxi_file: Path, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=r"taxi\.h5 has masks of available actions, SilentTaxi-v0 gives none"):
        experiment.build([job(taxi_file, "SilentTaxi-v0", tmp_path / "run")])
    assert not (tmp_path / "run").exists()
