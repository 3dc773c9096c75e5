"""A behaviour agent that is really trained, for a few hundred steps."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

from bcq_exp.collect import main, train, write
from bcq_exp.config import CONF_DIR
from bcq_exp.data.behaviour import SHIPPED, Behaviour

TINY = [
    "behaviour.stop_return=null",
    "behaviour.max_steps=300",
    "behaviour.eval_freq=150",
    "behaviour.eval_episodes=2",
    "behaviour.arguments.learning_starts=100",
    "behaviour.hidden_sizes=[16,8]",
    "report_episodes=3",
]


def configure(*overrides: str) -> DictConfig:
    with initialize_config_dir(CONF_DIR, version_base="1.3"):
        return compose("collect", list(overrides))


@pytest.mark.parametrize(("name", "sizes"), [("cartpole", [4, 16, 8, 2]), ("pendulum", [3, 16, 8, 1])])
def test_written_agent_acts_like_the_trained_one(name: str, sizes: list[int], tmp_path: Path) -> None:
    pytest.importorskip("stable_baselines3")
    config = configure(f"behaviour={name}", *TINY)
    agent = train(config)
    write(agent, config, tmp_path, "as in the test")
    behaviour = Behaviour.load(name, tmp_path)
    obs = np.random.default_rng(0).normal(size=(200, sizes[0])).astype(np.float32)
    expected, _ = agent.predict(obs, deterministic=True)
    np.testing.assert_allclose(behaviour.act(obs), expected, atol=1e-5)

    stated = json.loads((tmp_path / f"{name}.json").read_text())
    assert stated["layer_sizes"] == sizes
    assert stated["num_steps"] == 300
    assert stated["command"] == "as in the test"
    # A description says as much as those that ship.
    assert stated.keys() == json.loads((SHIPPED / f"{name}.json").read_text()).keys()


def test_training_stops_at_the_first_evaluation_that_is_good_enough() -> None:
    pytest.importorskip("stable_baselines3")
    agent = train(configure("behaviour=cartpole", *TINY, "behaviour.stop_return=5"))
    assert agent.num_timesteps == 150


def test_return_that_is_never_reached_is_an_error() -> None:
    pytest.importorskip("stable_baselines3")
    with pytest.raises(ValueError, match=r"behaviour\.stop_return=501 was not reached in max_steps, only \d"):
        train(configure("behaviour=cartpole", *TINY, "behaviour.stop_return=501"))


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("behaviour.algorithm=PPO", r"behaviour\.algorithm='PPO' is unknown; choose one of DQN, TD3"),
        ("behaviour.activation=gelu", r"behaviour\.activation='gelu' is unknown; choose one of relu, tanh"),
    ],
)
def test_unknown_name_is_an_error(override: str, message: str) -> None:
    pytest.importorskip("stable_baselines3")
    with pytest.raises(ValueError, match=message):
        train(configure("behaviour=cartpole", override))


def test_missing_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "stable_baselines3", None)
    with pytest.raises(ValueError, match=r"stable_baselines3.*pip install 'bcq_exp\[collect\]'"):
        train(configure("behaviour=cartpole"))


def test_entry_point_writes_to_the_run_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("stable_baselines3")
    run = ["behaviour=cartpole", "seed=3", *TINY, f"hydra.run.dir={tmp_path}"]
    monkeypatch.setattr(sys, "argv", ["collect", *run])
    main()
    stated = json.loads((tmp_path / "cartpole.json").read_text())
    assert stated["command"].startswith("python -m bcq_exp.collect behaviour=cartpole seed=3 ")
    assert stated["seed"] == 3
    assert Behaviour.load("cartpole", tmp_path).sha256 != Behaviour.load("cartpole").sha256


def test_commands_for_datasets_are_no_overrides(
    discrete_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["collect", "convert", str(discrete_file), "out.h5"])
    main()
    monkeypatch.setattr(sys, "argv", ["collect", "inspect", "out.h5"])
    main()
    assert "20: 10 terminated, 10 truncated" in capsys.readouterr().out
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.h5", "outputs"]
