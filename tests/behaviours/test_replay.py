"""The final buffer of a training."""

import shutil
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch

from bcq_exp.behaviours import replay
from bcq_exp.behaviours.replay import final_buffer
from bcq_exp.behaviours.training import learn, new_agent
from tiny_agents import tiny

COLUMNS = ("obs", "act", "rew", "terminated", "truncated", "obs_next", "episode_returns")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    pytest.importorskip("stable_baselines3")
    monkeypatch.setenv("BCQ_EXP_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def recording(num_transitions: int = 450, **changes: Any) -> Any:
    training = vars(tiny("ddpg", exploration_std=0.5, checkpoint_freq=250)) | changes
    return final_buffer(
        name="final", env="Pendulum-v1", training=training, num_transitions=num_transitions, seed=0,
        allow_code_change=False,
    )  # fmt: skip


def test_every_step_of_the_training_is_there() -> None:
    found = recording()
    assert len(found) == 450
    np.testing.assert_array_equal(np.flatnonzero(found.truncated), [199, 399, 449])
    assert not found.terminated.any()
    is_inside = ~found.truncated[:-1]
    np.testing.assert_array_equal(found.obs_next[:-1][is_inside], found.obs[1:][is_inside])
    rew = found.rew.astype(np.float64)
    np.testing.assert_allclose(found.episode_returns, [rew[:200].sum(), rew[200:400].sum()], rtol=1e-5)
    # In the environment's units each row is a step of it.
    env = gym.make("Pendulum-v1").unwrapped
    env.reset(seed=0)
    for i in range(0, 450, 7):
        cos, sin, velocity = found.obs[i].astype(np.float64)
        env.state = np.array([np.arctan2(sin, cos), velocity])
        np.testing.assert_allclose(env.step(found.act[i])[0], found.obs_next[i], atol=1e-4)
    assert abs(found.act).max() > 1.5


def test_it_is_made_once_and_its_training_leaves_nothing_else(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = recording()
    monkeypatch.setattr(replay, "new_agent", None)
    again = recording()
    for key in COLUMNS:
        np.testing.assert_array_equal(getattr(first, key), getattr(again, key))
    assert sorted(path.suffix for path in cache.iterdir()) == [".h5", ".json", ".lock"]


def test_trains_on_one_thread_and_gives_the_others_back(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    monkeypatch.setattr(replay, "learn", lambda *args: seen.append(torch.get_num_threads()) or learn(*args))
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        recording()
        assert (seen, torch.get_num_threads()) == ([1], 2)
    finally:
        torch.set_num_threads(before)


def test_missing_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(package: str) -> str:
        raise PackageNotFoundError(package)

    monkeypatch.setattr(replay, "version", missing)
    with pytest.raises(ValueError, match=r"final is what an agent of stable_baselines3 has seen: pip install 'bcq_exp"):
        recording()


def test_broken_training_goes_on_to_the_same_transitions(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = recording()
    shutil.rmtree(cache)

    def broken(agent: Any, cfg: Any, folder: Path, is_wanted: Any) -> None:
        learn(agent, cfg, folder, lambda: agent.num_timesteps < 300)
        raise KeyboardInterrupt

    monkeypatch.setattr(replay, "learn", broken)
    with pytest.raises(KeyboardInterrupt):
        recording()
    begun: list[int] = []
    monkeypatch.setattr(replay, "learn", lambda agent, *args: begun.append(agent.num_timesteps) or learn(agent, *args))
    found = recording()
    assert begun == [250]  # in the middle of the second episode
    assert len(found) == 450
    for key in COLUMNS:
        np.testing.assert_array_equal(getattr(found, key), getattr(whole, key))


def test_terminal_rows_are_no_time_limits() -> None:
    agent = new_agent(tiny("cartpole", max_steps=300), 0)
    agent.learn(300)
    found = replay.recorded(agent, "cartpole")
    angle, position = found.obs_next[:, 2], found.obs_next[:, 0]
    np.testing.assert_array_equal(found.terminated, (abs(position) > 2.4) | (abs(angle) > np.deg2rad(12)))
    assert found.truncated.sum() == (not found.terminated[-1])
    assert found.act.dtype == np.int64


def test_recording_without_a_whole_episode_is_refused() -> None:
    with pytest.raises(ValueError, match="num_transitions=150 ends before the first episode; collect more"):
        recording(150)
