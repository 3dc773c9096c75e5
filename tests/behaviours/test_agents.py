"""The shipped behaviour agents and the rules that make their demonstrations imperfect."""

import hashlib
import json
import shutil
from itertools import pairwise
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from bcq_exp.behaviours.agents import SHIPPED, Behaviour, EpisodeEpsilon, RandomOrGaussian, make_noise, write_behaviour

SHIPPED_FOLDER = Path(str(SHIPPED))
NAMES = ("cartpole", "pendulum")
CARTPOLE = gym.spaces.Discrete(2)
PENDULUM = gym.spaces.Box(-2, 2, (1,))


def description(name: str) -> dict:
    return json.loads((SHIPPED_FOLDER / f"{name}.json").read_text())


@pytest.mark.parametrize("name", NAMES)
def test_description_agrees_with_the_weights(name: str) -> None:
    stated = description(name)
    path = SHIPPED_FOLDER / f"{name}.safetensors"
    behaviour = Behaviour.load(name)
    assert stated["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest() == behaviour.sha256
    assert path.stat().st_size < 100_000
    assert stated["command"] == f"python -m bcq_exp.collect behaviour={name}"
    sizes = stated["layer_sizes"]
    shapes = [(weight.shape, bias.shape) for weight, bias in behaviour.layers]
    assert shapes == [((out, fan_in), (out,)) for fan_in, out in pairwise(sizes)]
    env = gym.make(behaviour.env)
    assert env.observation_space.shape == (sizes[0],)
    if behaviour.bounds is None:
        assert isinstance(env.action_space, gym.spaces.Discrete)
        assert env.action_space.n == sizes[-1]
    else:
        np.testing.assert_array_equal(behaviour.bounds, (env.action_space.low, env.action_space.high))


@pytest.mark.parametrize("name", NAMES)
def test_acts_like_a_torch_network_of_the_same_weights(name: str) -> None:
    sizes = description(name)["layer_sizes"]
    modules = []
    for fan_in, fan_out in pairwise(sizes):
        modules += [nn.Linear(fan_in, fan_out), nn.ReLU()]
    network = nn.Sequential(*modules[:-1])
    tensors = load_file(SHIPPED_FOLDER / f"{name}.safetensors")
    # A Sequential counts the activations too, so that layer i is its module 2 i.
    network.load_state_dict(
        {f"{2 * int(key.split('.')[1])}.{key.split('.')[2]}": tensor for key, tensor in tensors.items()}
    )
    obs = np.random.default_rng(0).normal(size=(500, sizes[0])).astype(np.float32)
    with torch.inference_mode():
        outputs = network(torch.from_numpy(obs)).numpy()
    act = Behaviour.load(name).act(obs)
    if name == "cartpole":
        assert act.dtype == np.int64
        np.testing.assert_array_equal(act, outputs.argmax(axis=1))
        assert set(act) == {0, 1}
    else:
        assert act.dtype == np.float32
        np.testing.assert_allclose(act, 2 * np.tanh(outputs), atol=1e-5)


def test_bounds_that_are_not_symmetric_are_reached() -> None:
    layer = (np.array([[100.0]], np.float32), np.zeros(1, np.float32))
    bounds = np.array([[-1.0], [5.0]], np.float32)
    behaviour = Behaviour(name="x", env="x", layers=[layer], activation="relu", bounds=bounds, sha256="")
    np.testing.assert_allclose(behaviour.act(np.array([[-1.0], [0.0], [1.0]])), [[-1.0], [2.0], [5.0]])


@pytest.mark.parametrize(("name", "num_episodes"), [("cartpole", 20), ("pendulum", 20)])
def test_greedy_return_is_the_stated_one(name: str, num_episodes: int) -> None:
    stated, behaviour = description(name), Behaviour.load(name)
    env = gym.make(behaviour.env)
    returns = np.zeros(num_episodes)
    for episode in range(num_episodes):
        obs, _ = env.reset(seed=episode)
        is_over = False
        while not is_over:
            obs, rew, terminated, truncated, _ = env.step(behaviour.act(obs[None])[0])
            returns[episode] += rew
            is_over = terminated or truncated
    standard_error = stated["return_std"] * np.sqrt(1 / num_episodes + 1 / stated["return_episodes"])
    assert abs(returns.mean() - stated["return_mean"]) < 3 * standard_error


def test_agents_are_partially_trained() -> None:
    assert 120 <= description("cartpole")["return_mean"] <= 300
    assert -400 <= description("pendulum")["return_mean"] <= -250


def test_unknown_agent_names_those_that_there_are() -> None:
    with pytest.raises(ValueError, match=r"behaviour='acrobot' is unknown in .*; choose one of .*cartpole, .*pendulum"):
        Behaviour.load("acrobot")


def test_changed_weights_are_refused(tmp_path: Path) -> None:
    for suffix in ("json", "safetensors"):
        shutil.copy(SHIPPED_FOLDER / f"cartpole.{suffix}", tmp_path)
    assert Behaviour.load("cartpole", tmp_path).sha256 == Behaviour.load("cartpole").sha256
    weights = tmp_path / "cartpole.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x01")
    with pytest.raises(ValueError, match=r"cartpole\.safetensors: sha256 is .* cartpole\.json says"):
        Behaviour.load("cartpole", tmp_path)


def test_written_agent_is_read_back(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    layers = [(rng.normal(size=shape).astype(np.float32), np.ones(shape[0], np.float32)) for shape in ((5, 3), (2, 5))]
    stated = {"env": "CartPole-v1", "activation": "tanh", "action_bounds": None}
    write_behaviour("x", tmp_path, layers, stated)
    behaviour = Behaviour.load("x", tmp_path)
    obs = rng.normal(size=(7, 3)).astype(np.float32)
    hidden = np.tanh(obs @ layers[0][0].T + 1)
    np.testing.assert_array_equal(behaviour.act(obs), (hidden @ layers[1][0].T + 1).argmax(axis=1))
    assert json.loads((tmp_path / "x.json").read_text())["layer_sizes"] == [3, 5, 2]


def test_epsilon_is_drawn_for_each_episode() -> None:
    noise, rng = EpisodeEpsilon(probability=0.25, low=0.0, high=1.0), np.random.default_rng(0)
    changed = np.zeros(1000)
    for episode in range(1000):
        perturb = noise.begin(CARTPOLE, rng)
        changed[episode] = sum(perturb(np.int64(1)) != 1 for _ in range(50))
    quiet = changed == 0  # 50 fair coins all agree once in 10^15
    assert abs(quiet.mean() - 0.25) < 4 * np.sqrt(0.25 * 0.75 / 1000)
    assert abs(changed[~quiet].mean() / 50 - 0.5) < 4 * np.sqrt(0.25 / (50 * 750))


def test_epsilon_counts_random_actions_not_changed_ones() -> None:
    perturb = EpisodeEpsilon(probability=0.0, low=0.0, high=0.2).begin(CARTPOLE, np.random.default_rng(0))
    changed = np.mean([perturb(np.int64(0)) != 0 for _ in range(20_000)])
    assert abs(changed - 0.1) < 4 * np.sqrt(0.1 * 0.9 / 20_000)


def test_gaussian_noise_is_in_units_of_half_the_range() -> None:
    perturb = RandomOrGaussian(random_probability=0.0, std=0.3).begin(PENDULUM, np.random.default_rng(0))
    act = np.array([perturb(np.zeros(1, np.float32)) for _ in range(20_000)])
    assert act.dtype == np.float32
    # 0.3 of half the range of 4 is 0.6; cutting at 2, beyond 3.3 deviations, takes less than 0.2 % of it.
    assert abs(act.std() - 0.6) < 0.015
    assert abs(act.mean()) < 4 * 0.6 / np.sqrt(20_000)


def test_random_actions_are_as_frequent_as_configured() -> None:
    perturb = RandomOrGaussian(random_probability=0.3, std=0.0).begin(PENDULUM, np.random.default_rng(0))
    act = np.array([perturb(np.full(1, 1.5, np.float32)) for _ in range(20_000)])
    is_random = (act != np.float32(1.5))[:, 0]
    assert abs(is_random.mean() - 0.3) < 4 * np.sqrt(0.3 * 0.7 / 20_000)
    quartiles = np.quantile(act[is_random], (0.25, 0.5, 0.75))
    np.testing.assert_allclose(quartiles, (-1, 0, 1), atol=0.1)


def test_noise_stays_within_the_bounds() -> None:
    perturb = RandomOrGaussian(random_probability=0.0, std=5.0).begin(PENDULUM, np.random.default_rng(0))
    act = np.array([perturb(np.zeros(1, np.float32)) for _ in range(200)])
    assert act.min() == -2
    assert act.max() == 2


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (
            {"name": "pink", "std": 0.1},
            r"noise\.name='pink' is unknown; choose one of none, episode_epsilon, random_or",
        ),
        ({"name": "random_or_gaussian", "std": 0.1}, r"needed: random_probability, std"),
        (
            {"name": "random_or_gaussian", "std": -0.1, "random_probability": 0.3},
            r"noise\.std=-0\.1; allowed: \[0, inf\]",
        ),
        ({"name": "episode_epsilon", "probability": 1.5, "low": 0, "high": 1}, r"probability=1\.5; allowed: \[0, 1\]"),
        ({"name": "episode_epsilon", "probability": 1, "low": float("nan"), "high": 1}, r"noise\.low=nan"),
    ],
)
def test_bad_noise_is_refused(config: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_noise(**config)


def test_noise_of_the_other_kind_of_action_is_refused() -> None:
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match="episode_epsilon is for discrete actions"):
        EpisodeEpsilon(probability=0.2, low=0.0, high=0.2).begin(PENDULUM, rng)
    with pytest.raises(ValueError, match="random_or_gaussian is for bounded continuous actions"):
        RandomOrGaussian(random_probability=0.3, std=0.3).begin(CARTPOLE, rng)
