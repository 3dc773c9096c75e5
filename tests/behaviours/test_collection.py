"""Datasets that are collected from behaviour agents, and their cache."""

import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from omegaconf import OmegaConf

from bcq_exp.behaviours import collection
from bcq_exp.behaviours.agents import Behaviour, EpisodeEpsilon, Noise, NoNoise, RandomOrGaussian
from bcq_exp.behaviours.collection import collect, embedded_dataset
from bcq_exp.data import Transitions, read_manifest
from bcq_exp.io.source import CONF_DIR

EPSILON = EpisodeEpsilon(probability=0.2, low=0.001, high=0.2)
GAUSSIAN = RandomOrGaussian(random_probability=0.3, std=0.3)
RECORDINGS = [("cartpole", "CartPole-v1", EPSILON), ("pendulum", "Pendulum-v1", GAUSSIAN)]
NAMES = ("cartpole-noisy", "pendulum-noisy")
COLUMNS = ("obs", "act", "rew", "terminated", "truncated", "obs_next", "episode_returns")
YAML = {name: OmegaConf.to_container(OmegaConf.load(Path(CONF_DIR, "dataset", f"{name}.yaml"))) for name in NAMES}
CONFIG = {key: YAML["cartpole-noisy"][key] for key in ("name", "env", "behaviour", "noise", "seed")}
CONFIG |= {"num_transitions": 1000, "allow_code_change": False}


def record(name: str, env: str, noise: Noise, num_transitions: int = 1000, seed: int = 0) -> Transitions:
    return collect(Behaviour.load(name), noise, env, num_transitions, np.random.SeedSequence(seed))


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("BCQ_EXP_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.mark.parametrize(("name", "env", "noise"), RECORDINGS)
def test_rows_are_whole_episodes_in_order(name: str, env: str, noise: Noise) -> None:
    recorded = record(name, env, noise)
    assert len(recorded) == 1000
    ends = recorded.terminated | recorded.truncated
    assert ends[-1]
    is_inside = ~ends[:-1]
    np.testing.assert_array_equal(recorded.obs_next[:-1][is_inside], recorded.obs[1:][is_inside])
    assert not (recorded.obs_next[:-1] == recorded.obs[1:])[~is_inside].all(axis=1).any()
    assert not (recorded.terminated & recorded.truncated).any()


def test_each_row_is_a_step_of_the_environment() -> None:
    recorded = record("pendulum", "Pendulum-v1", GAUSSIAN, 400)
    env = gym.make("Pendulum-v1").unwrapped
    env.reset(seed=0)
    for i in range(len(recorded)):
        cos, sin, velocity = recorded.obs[i].astype(np.float64)
        env.state = np.array([np.arctan2(sin, cos), velocity])
        obs_next, rew, *_ = env.step(recorded.act[i])
        np.testing.assert_allclose(obs_next, recorded.obs_next[i], atol=1e-4)
        np.testing.assert_allclose(rew, recorded.rew[i], atol=1e-3)


def test_time_limits_truncate_and_failures_terminate() -> None:
    recorded = record("pendulum", "Pendulum-v1", GAUSSIAN)
    np.testing.assert_array_equal(np.flatnonzero(recorded.truncated), [199, 399, 599, 799, 999])
    assert not recorded.terminated.any()
    recorded = record("cartpole", "CartPole-v1", EpisodeEpsilon(probability=1.0, low=1.0, high=1.0))
    position, angle = recorded.obs_next[:, 0], recorded.obs_next[:, 2]
    # CartPole's documented bounds: 2.4 and 12 degrees.
    np.testing.assert_array_equal(recorded.terminated, (abs(position) > 2.4) | (abs(angle) > np.deg2rad(12)))


def test_unfinished_last_episode_is_truncated_and_its_return_is_left_out() -> None:
    recorded = record("pendulum", "Pendulum-v1", GAUSSIAN, 500)
    np.testing.assert_array_equal(np.flatnonzero(recorded.truncated), [199, 399, 499])
    rew = recorded.rew.astype(np.float64)
    np.testing.assert_allclose(recorded.episode_returns, [rew[:200].sum(), rew[200:400].sum()])


def test_recording_without_a_whole_episode_is_refused(cache: Path) -> None:
    with pytest.raises(ValueError, match="num_transitions=5 ends before the first episode in CartPole-v1"):
        embedded_dataset(**{**CONFIG, "num_transitions": 5})


def test_agent_of_another_environment_is_refused() -> None:
    with pytest.raises(ValueError, match="behaviour=cartpole was trained in CartPole-v1; allowed: env=CartPole-v1"):
        record("cartpole", "Pendulum-v1", EPSILON)


def test_epsilon_of_episodes_shows_in_their_actions() -> None:
    recorded = record("cartpole", "CartPole-v1", EPSILON, 20_000)
    differs = recorded.act != Behaviour.load("cartpole").act(recorded.obs)
    starts = np.flatnonzero(np.concatenate(([True], (recorded.terminated | recorded.truncated)[:-1])))
    lengths = np.diff([*starts, len(recorded)])
    differing = np.add.reduceat(differs, starts)
    # Half of the random actions are the greedy one: 0.0005 of a quiet episode's actions differ, 0.1 of another's.
    is_quiet = differing / lengths < 0.02
    assert abs(is_quiet.mean() - 0.2) < 4 * np.sqrt(0.2 * 0.8 / len(lengths))
    num_steps = lengths[~is_quiet].sum()
    assert abs(differing[~is_quiet].sum() / num_steps - 0.1) < 4 * np.sqrt(0.1 * 0.9 / num_steps)


def test_random_fraction_of_continuous_actions() -> None:
    recorded = record("pendulum", "Pendulum-v1", RandomOrGaussian(random_probability=0.3, std=0.0), 10_000)
    differs = abs(recorded.act - Behaviour.load("pendulum").act(recorded.obs))[:, 0] > 1e-4
    assert abs(differs.mean() - 0.3) < 4 * np.sqrt(0.3 * 0.7 / 10_000)


@pytest.mark.parametrize(("name", "env", "noise"), RECORDINGS)
def test_seed_decides_the_recording(name: str, env: str, noise: Noise) -> None:
    first, again, other = (record(name, env, noise, 400, seed) for seed in (7, 7, 8))
    for key in COLUMNS:
        np.testing.assert_array_equal(getattr(first, key), getattr(again, key))
    assert not np.array_equal(first.obs[0], other.obs[0])
    assert not np.array_equal(first.act, other.act)


def test_cache_is_reused(cache: Path) -> None:
    first = embedded_dataset(**CONFIG)
    path = Path(first.source)
    assert path.parent == cache
    assert path.name.startswith("cartpole-noisy-")
    before, written = path.stat().st_mtime_ns, path.read_bytes()
    again = embedded_dataset(**CONFIG)
    assert path.stat().st_mtime_ns == before
    assert path.read_bytes() == written
    for key in COLUMNS:
        np.testing.assert_array_equal(getattr(first, key), getattr(again, key))
    assert sorted(cache.iterdir()) == sorted(path.with_suffix(ending) for ending in (".h5", ".json", ".lock"))


def test_cached_dataset_is_the_collected_one(cache: Path) -> None:
    cached, recorded = embedded_dataset(**CONFIG), record(*RECORDINGS[0])
    for key in COLUMNS:
        np.testing.assert_array_equal(getattr(cached, key), getattr(recorded, key))
        assert getattr(cached, key).dtype == getattr(recorded, key).dtype
    manifest = read_manifest(cached.source)
    assert manifest["behaviour_sha256"] == Behaviour.load("cartpole").sha256
    assert manifest["noise"] == CONFIG["noise"]


@pytest.mark.parametrize(
    "change", [{"seed": 1}, {"num_transitions": 1001}, {"noise": {**CONFIG["noise"], "high": 0.3}}, {"name": "mine"}]
)
def test_other_content_is_another_file(cache: Path, change: dict) -> None:
    assert embedded_dataset(**CONFIG).source != embedded_dataset(**{**CONFIG, **change}).source
    assert len(list(cache.glob("*.h5"))) == 2


def test_recording_that_was_killed_goes_on_with_the_leg_that_it_was_in(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(collection, "LEG", 300)
    whole = embedded_dataset(**CONFIG)
    ends = whole.terminated | whole.truncated
    assert ends[[299, 599, 999]].all()
    for key in COLUMNS[:-1]:
        np.testing.assert_array_equal(getattr(whole, key)[:200], getattr(record(*RECORDINGS[0], 300), key)[:200])
    assert not np.array_equal(whole.obs[:300], whole.obs[300:600])

    shutil.rmtree(cache)
    killed = (
        "import os; from bcq_exp.behaviours import collection; collect, legs = collection.collect, []\n"
        "def dying(*args):\n"
        "    legs.append(args)\n"
        "    return collect(*args) if len(legs) < 2 else os.kill(os.getpid(), 9)\n"
        f"collection.LEG, collection.collect = 300, dying; collection.embedded_dataset(**{CONFIG!r})"
    )
    assert subprocess.run([sys.executable, "-c", killed], check=False).returncode == -9
    assert len(list(cache.glob("*.leg?.h5"))) == 1
    made = []
    monkeypatch.setattr(collection, "collect", lambda *args: made.append(args[3]) or collect(*args))
    again = embedded_dataset(**CONFIG)
    assert made == [300, 400]
    for key in COLUMNS:
        np.testing.assert_array_equal(getattr(whole, key), getattr(again, key))
    assert not list(cache.glob("*.leg*"))


def test_recording_that_other_code_began_goes_on_where_that_is_allowed(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(collection, "LEG", 300)

    def stopping(*args: Any) -> Transitions:
        if list(cache.glob("*.leg0.h5")):
            raise ValueError("stopped")
        return collect(*args)

    monkeypatch.setattr(collection, "collect", stopping)
    monkeypatch.setattr(collection, "source_digest", lambda: "a" * 64)
    with pytest.raises(ValueError, match="stopped"):
        embedded_dataset(**CONFIG)
    monkeypatch.undo()
    monkeypatch.setenv("BCQ_EXP_CACHE", str(cache))
    monkeypatch.setattr(collection, "LEG", 300)
    (leg,) = cache.glob("*.leg0.h5")
    with pytest.raises(ValueError, match=rf"{leg}: the code has changed .*aaaaaaaaaaaa before.*allow_code_change=true"):
        embedded_dataset(**CONFIG)
    assert leg.exists()
    assert len(embedded_dataset(**{**CONFIG, "allow_code_change": True})) == 1000


def test_account_states_the_returns_and_the_versions(cache: Path) -> None:
    recorded = embedded_dataset(**CONFIG)
    account = json.loads(Path(recorded.source).with_suffix(".json").read_text())
    returns = recorded.episode_returns
    assert account["return_mean"] == returns.mean()
    assert account["return_std_error"] == returns.std() / len(returns) ** 0.5
    assert account["num_episodes"] == len(returns)
    assert account["gymnasium_version"] == gym.__version__
    assert account["sha256"] == hashlib.sha256(Path(recorded.source).read_bytes()).hexdigest()


def test_no_noise_is_the_agents_own_action() -> None:
    recorded = record("pendulum", "Pendulum-v1", NoNoise(), 200)
    behaviour = Behaviour.load("pendulum")
    np.testing.assert_array_equal(recorded.act, [behaviour.act(obs[None])[0] for obs in recorded.obs])


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def forget(path: Path) -> None:
    path.with_suffix(".json").unlink()


def scribble(path: Path) -> None:
    path.with_suffix(".json").write_text("{")


@pytest.mark.parametrize("damage", [cut, flip, forget, scribble])
def test_damaged_cache_is_collected_anew(
    cache: Path, damage: Callable[[Path], None], caplog: pytest.LogCaptureFixture
) -> None:
    path = Path(embedded_dataset(**CONFIG).source)
    intact = path.read_bytes()
    damage(path)
    embedded_dataset(**CONFIG)
    assert path.read_bytes() == intact
    assert json.loads(path.with_suffix(".json").read_text())["seed"] == 0
    said = [message for message in caplog.messages if "is not as it was written; it is collected anew" in message]
    assert len(said) == (damage is not forget)


def test_cache_that_cannot_be_written_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("BCQ_EXP_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(ValueError, match=r"cache file .*; set BCQ_EXP_CACHE to a folder that can be written"):
        embedded_dataset(**CONFIG)


def test_first_uses_at_once_end_with_one_whole_file(cache: Path) -> None:
    with ThreadPoolExecutor(4) as pool:
        recorded = list(pool.map(lambda _: embedded_dataset(**CONFIG), range(4)))
    for key in COLUMNS:
        for other in recorded[1:]:
            np.testing.assert_array_equal(getattr(recorded[0], key), getattr(other, key))
    path = Path(recorded[0].source)
    assert sorted(cache.iterdir()) == sorted(path.with_suffix(ending) for ending in (".h5", ".json", ".lock"))
    written = path.stat().st_mtime_ns
    embedded_dataset(**CONFIG)
    assert path.stat().st_mtime_ns == written


@pytest.mark.parametrize("name", NAMES)
def test_lower_reference_is_the_return_of_random_actions(name: str) -> None:
    env = gym.make(YAML[name]["env"])
    env.action_space.seed(0)
    returns = np.zeros(200)
    for episode in range(200):
        env.reset(seed=episode)
        is_over = False
        while not is_over:
            _, rew, terminated, truncated, _ = env.step(env.action_space.sample())
            returns[episode] += rew
            is_over = terminated or truncated
    assert returns.mean() == pytest.approx(YAML[name]["ref_min"], abs=0.01)
    assert YAML[name]["ref_min"] < YAML[name]["ref_max"]
