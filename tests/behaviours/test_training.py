"""Behaviour agents that are really trained, for a few hundred steps."""

import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from filelock import FileLock
from omegaconf import OmegaConf

import pixels
from bcq_exp.behaviours.agents import SHIPPED, Behaviour
from bcq_exp.behaviours.training import BehaviourConfig, learn, new_agent, train
from bcq_exp.behaviours.training_state import STATE, go_on, restore, save
from bcq_exp.io.interruption import Interrupted
from bcq_exp.io.source import CONF_DIR, source_digest
from processes import SIZE, small_disk
from tiny_agents import SEEDS, tiny

OBS = np.random.default_rng(0).normal(size=(200, 4)).astype(np.float32)


@pytest.fixture(autouse=True)
def library() -> None:
    pytest.importorskip("stable_baselines3")


@pytest.mark.parametrize("path", sorted(Path(CONF_DIR, "behaviour").glob("*.yaml")), ids=lambda path: path.stem)
def test_every_behaviour_has_a_configuration_that_is_checked(path: Path) -> None:
    section: Any = OmegaConf.to_container(OmegaConf.load(path))
    cfg = BehaviourConfig(**section)
    assert cfg.name == path.stem
    assert cfg.checkpoint_freq % cfg.eval_freq == 0 or cfg.eval_freq < cfg.checkpoint_freq


@pytest.mark.parametrize(
    ("name", "changes", "sizes"),
    [
        ("cartpole", {}, [4, 16, 8, 2]),
        ("pendulum", {}, [3, 16, 8, 1]),
        ("pendulum", {"algorithm": "SAC", "exploration_std": None}, [3, 16, 8, 1]),
        ("ddpg", {}, [3, 16, 8, 1]),
    ],
)
def test_written_agent_acts_like_the_trained_one(
    name: str, changes: dict[str, Any], sizes: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cfg = tiny(name, **changes)
    if cfg.algorithm == "SAC":
        cfg.arguments["ent_coef"] = "auto_0.1"
    kept: list[Any] = []
    monkeypatch.setattr("bcq_exp.behaviours.training.new_agent", lambda *args: kept.append(new_agent(*args)) or kept[0])
    train(cfg, SEEDS, tmp_path, "as in the test", allow_code_change=False)
    obs = OBS[:, : sizes[0]]
    expected, _ = kept[0].predict(obs, deterministic=True)
    np.testing.assert_allclose(Behaviour.load(name, tmp_path).act(obs), expected, atol=1e-5)

    stated = json.loads((tmp_path / f"{name}.json").read_text())
    assert stated["layer_sizes"] == sizes
    assert stated["num_steps"] == 300
    assert stated["command"] == "as in the test"
    # A description says as much as those that ship.
    assert stated.keys() == json.loads((SHIPPED / "cartpole.json").read_text()).keys()


def test_agent_that_sees_images_acts_like_the_trained_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cfg = tiny("cartpole", env=pixels.ENV, agents={"blocks": None}, max_steps=150, eval_freq=150)
    kept: list[Any] = []
    monkeypatch.setattr("bcq_exp.behaviours.training.new_agent", lambda *args: kept.append(new_agent(*args)) or kept[0])
    train(cfg, SEEDS, tmp_path, "", allow_code_change=False)
    images = pixels.recording(10, is_perfect=False).obs
    outputs = kept[0].q_net(torch.from_numpy(images)).detach().numpy()
    assert len(set(outputs.argmax(1).tolist())) > 1
    np.testing.assert_array_equal(Behaviour.load("blocks", tmp_path).act(images), outputs.argmax(1))


def test_an_agent_is_that_of_the_first_evaluation_that_is_good_enough(tmp_path: Path) -> None:
    train(tiny("cartpole", agents={"poor": 1, "end": None}), SEEDS, tmp_path, "", allow_code_change=False)
    steps = {name: json.loads((tmp_path / f"{name}.json").read_text())["num_steps"] for name in ("poor", "end")}
    assert steps == {"poor": 150, "end": 300}
    train(tiny("cartpole", agents={"poor": 1}), SEEDS, tmp_path / "alone", "", allow_code_change=False)
    assert json.loads((tmp_path / "alone" / "poor.json").read_text())["num_steps"] == 150
    weights = [(folder / "poor.safetensors").read_bytes() for folder in (tmp_path, tmp_path / "alone")]
    assert weights[0] == weights[1]


def test_return_that_is_never_reached_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"behaviour\.agents: good=501 was not reached in max_steps=300, only \d"):
        train(tiny("cartpole", agents={"poor": 1, "good": 501}), SEEDS, tmp_path, "", allow_code_change=False)
    assert Behaviour.load("poor", tmp_path).env == "CartPole-v1"


KILLED = (
    "import os, pathlib, sys\n"
    "from bcq_exp.behaviours import training\n"
    "from tiny_agents import SEEDS, tiny\n"
    "name, changes, path, steps = sys.argv[1], eval(sys.argv[2]), pathlib.Path(sys.argv[3]), int(sys.argv[4])\n"
    "learn = training.learn\n"
    "def dying(agent, cfg, folder, is_wanted, *others):\n"
    "    is_alive = lambda: agent.num_timesteps < steps or os.kill(os.getpid(), 9)\n"
    "    learn(agent, cfg, folder, lambda: is_alive() and is_wanted(), *others)\n"
    "training.learn = dying\n"
    "training.train(tiny(name, **changes), SEEDS, path, '', allow_code_change=False)\n"
)


@pytest.mark.parametrize(
    ("name", "changes", "kills"),  # by steps: behind the first checkpoint, and behind the third
    [
        ("cartpole", {}, (250, 460)),
        ("pendulum", {"algorithm": "SAC", "exploration_std": None}, (460,)),
        ("ddpg", {"clip_rewards": True}, (460,)),
    ],
)
def test_killed_training_ends_with_the_same_agents(
    name: str, changes: dict[str, Any], kills: tuple[int, ...], tmp_path: Path
) -> None:
    goal = {"cartpole": 5, "pendulum": -2000, "ddpg": -2000}[name]
    changes = {"checkpoint_freq": 130, "max_steps": 500, **changes, "agents": {"good": goal, "end": None}}
    if changes.get("algorithm") == "SAC":
        changes["arguments"] = {**tiny(name).arguments, "ent_coef": "auto_0.1"}
    train(tiny(name, **changes), SEEDS, tmp_path / "whole", "", allow_code_change=False)
    environment = {"PYTHONPATH": str(Path(__file__).parents[1]), "PATH": ""}
    for steps in kills:
        command = [sys.executable, "-c", KILLED, name, repr(changes), "killed", str(steps)]
        assert subprocess.run(command, cwd=tmp_path, env=environment, check=False).returncode == -9
    cfg, folder = tiny(name, **changes), tmp_path / "killed"
    after = new_agent(cfg, 1)
    restore(after, folder / STATE)
    assert 390 <= after.num_timesteps < 394  # DQN takes four steps at a time
    train(cfg, SEEDS, folder, "", allow_code_change=False)
    for agent in ("good", "end"):
        for ending in ("safetensors", "json"):
            whole, killed = (tmp_path / run / f"{agent}.{ending}" for run in ("whole", "killed"))
            assert whole.read_bytes() == killed.read_bytes()


def test_an_open_episode_that_cannot_be_played_again_is_cut(tmp_path: Path) -> None:
    """As of an emulator whose chance is its own; here the file says that the tenth step had led elsewhere."""
    agent = new_agent(tiny("pendulum"), 0)
    agent.learn(50)
    save(agent, tmp_path / STATE)
    same = new_agent(tiny("pendulum"), 1)
    restore(same, tmp_path / STATE)
    np.testing.assert_array_equal(same._last_obs, agent._last_obs)
    assert not same.replay_buffer.dones.any()

    state = torch.load(tmp_path / STATE, weights_only=True)
    state["rows"]["next_observations"][9] += 1
    torch.save(state, tmp_path / STATE)
    other = new_agent(tiny("pendulum"), 1)
    restore(other, tmp_path / STATE)
    assert np.flatnonzero(other.replay_buffer.dones).tolist() == [49]
    assert np.flatnonzero(other.replay_buffer.timeouts).tolist() == [49]
    assert not np.array_equal(other._last_obs, agent._last_obs)
    other.learn(10, reset_num_timesteps=False)
    np.testing.assert_array_equal(other.replay_buffer.observations[51], other.replay_buffer.next_observations[50])


def test_training_of_another_release_is_refused(tmp_path: Path) -> None:
    torch.save({"parameters": {}}, tmp_path / STATE)
    with pytest.raises(ValueError, match=r"training\.pt: a training of another release; remove .* to begin anew"):
        restore(new_agent(tiny("cartpole"), 0), tmp_path / STATE)


def test_a_signal_saves_the_training(tmp_path: Path) -> None:
    cfg, agent = tiny("cartpole", max_steps=300), new_agent(tiny("cartpole"), 0)
    go_on(agent, tmp_path, {}, allow_code_change=False)
    with pytest.raises(Interrupted, match="stopped by SIGTERM"):
        learn(agent, cfg, tmp_path, lambda: agent.num_timesteps != 250 or os.kill(os.getpid(), signal.SIGTERM) is None)
    (tmp_path / f".{STATE}.{'0' * 32}.partial").write_text("half")
    after = new_agent(cfg, 1)
    go_on(after, tmp_path, {}, allow_code_change=False)
    assert 250 <= after.num_timesteps < 254  # the end of the rollout
    assert sorted(path.name for path in tmp_path.iterdir()) == ["training.json", STATE]


def test_normal_numbers_go_on_in_the_middle_of_a_pair(tmp_path: Path) -> None:
    agent = new_agent(tiny("pendulum"), 0)
    agent.learn(50)
    np.random.seed(0)
    np.random.normal()
    save(agent, tmp_path / STATE)
    expected = np.random.normal(size=3)
    restore(new_agent(tiny("pendulum"), 1), tmp_path / STATE)
    np.testing.assert_array_equal(np.random.normal(size=3), expected)


def test_a_damaged_checkpoint_is_named_with_what_to_do(tmp_path: Path) -> None:
    agent = new_agent(tiny("cartpole"), 0)
    for content in (b"", b"x" * 100, b"PK\x03\x04"):
        (tmp_path / STATE).write_bytes(content)
        with pytest.raises(ValueError, match=rf"{STATE} is damaged .*; remove {tmp_path}, and the training begins"):
            restore(agent, tmp_path / STATE)


def test_a_full_disk_is_an_error_of_the_disk(tmp_path: Path) -> None:
    agent = new_agent(tiny("cartpole"), 0)
    with small_disk(tmp_path / "disk") as disk:
        (disk / "filler").write_bytes(b"0" * (SIZE - 8192))
        with pytest.raises(OSError, match="No space left") as raised:
            save(agent, disk / STATE)
        assert raised.value.filename == str(disk / STATE)
        assert [path.name for path in disk.iterdir()] == ["filler"]


def test_folder_of_another_training_is_refused(tmp_path: Path) -> None:
    train(tiny("cartpole"), SEEDS, tmp_path, "", allow_code_change=False)
    with pytest.raises(
        ValueError,
        match=r"another run than what is asked for:\n  seed: 0 before, 1 now\ngive another hydra.run.dir=DIR",
    ):
        train(tiny("cartpole"), replace(SEEDS, seed=1), tmp_path, "", allow_code_change=False)
    shutil.rmtree(tmp_path)
    train(tiny("cartpole"), replace(SEEDS, seed=1), tmp_path, "", allow_code_change=False)


def test_training_that_other_code_began_goes_on_where_that_is_allowed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    agent, settings = new_agent(tiny("cartpole"), 0), {"seed": 0}
    monkeypatch.setattr("bcq_exp.behaviours.training_state.source_digest", lambda: "a" * 64)
    go_on(agent, tmp_path, settings, allow_code_change=False)
    monkeypatch.undo()
    with pytest.raises(
        ValueError, match=r"the code has changed: aaaaaaaaaaaa before, .* allow_code_change=true goes on"
    ):
        go_on(agent, tmp_path, settings, allow_code_change=False)
    go_on(agent, tmp_path, settings, allow_code_change=True)
    go_on(agent, tmp_path, settings, allow_code_change=False)  # by the code that went on with it
    assert json.loads((tmp_path / "training.json").read_text())["code"] == ["a" * 64, source_digest()]


def test_folder_is_trained_in_by_one_process_and_what_others_left_there_stays(tmp_path: Path) -> None:
    with FileLock(tmp_path / "training.lock"), pytest.raises(ValueError, match="another process trains in"):
        train(tiny("cartpole"), SEEDS, tmp_path, "", allow_code_change=False)
    (tmp_path / "mine" / "cartpole.json").mkdir(parents=True)
    with pytest.raises(ValueError, match=r"has cartpole but no training\.json"):
        train(tiny("cartpole"), SEEDS, tmp_path / "mine", "", allow_code_change=False)
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["cartpole.json"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"algorithm": "PPO"}, r"behaviour\.algorithm=PPO is none of DQN, DDPG, TD3, SAC"),
        ({"activation": "gelu"}, r"behaviour\.activation=gelu is none of relu, tanh"),
        ({"eval_freq": 0}, r"behaviour\.eval_freq=0 is outside \[1, inf\)"),
        ({"agents": {}}, r"behaviour\.agents is empty"),
    ],
)
def test_settings_are_checked(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        tiny("cartpole", **change)


def test_missing_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "stable_baselines3", None)
    with pytest.raises(ValueError, match=r"stable_baselines3.*pip install 'bcq_exp\[collect\]'"):
        new_agent(tiny("cartpole"), 0)
