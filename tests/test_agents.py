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
from omegaconf import OmegaConf

import pixels
from bcq_exp.agents import STATE, BehaviourConfig, Seeds, go_on, learn, new_agent, restore, save, train
from bcq_exp.config import CONF_DIR
from bcq_exp.data.behaviour import SHIPPED, Behaviour
from bcq_exp.interruption import Interrupted
from processes import SIZE, small_disk

SEEDS = Seeds(seed=0, eval_seed=1, report_seed=2, report_episodes=3)
TINY: dict[str, Any] = {
    "max_steps": 300,
    "eval_freq": 150,
    "eval_episodes": 2,
    "checkpoint_freq": 1000,
    "hidden_sizes": [16, 8],
}
OBS = np.random.default_rng(0).normal(size=(200, 4)).astype(np.float32)


def tiny(name: str, **changes: Any) -> BehaviourConfig:
    section: Any = OmegaConf.to_container(OmegaConf.load(Path(CONF_DIR, "behaviour", f"{name}.yaml")))
    section["arguments"] |= {"learning_starts": 100, "buffer_size": 400}
    return BehaviourConfig(**{**section, **TINY, "agents": {name: None}, **changes})


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
    monkeypatch.setattr("bcq_exp.agents.new_agent", lambda *args: kept.append(new_agent(*args)) or kept[0])
    train(cfg, SEEDS, tmp_path, "as in the test")
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
    monkeypatch.setattr("bcq_exp.agents.new_agent", lambda *args: kept.append(new_agent(*args)) or kept[0])
    train(cfg, SEEDS, tmp_path, "")
    images = pixels.recording(10, is_perfect=False).obs
    outputs = kept[0].q_net(torch.from_numpy(images)).detach().numpy()
    assert len(set(outputs.argmax(1).tolist())) > 1
    np.testing.assert_array_equal(Behaviour.load("blocks", tmp_path).act(images), outputs.argmax(1))


def test_an_agent_is_that_of_the_first_evaluation_that_is_good_enough(tmp_path: Path) -> None:
    train(tiny("cartpole", agents={"poor": 1, "end": None}), SEEDS, tmp_path, "")
    steps = {name: json.loads((tmp_path / f"{name}.json").read_text())["num_steps"] for name in ("poor", "end")}
    assert steps == {"poor": 150, "end": 300}
    train(tiny("cartpole", agents={"poor": 1}), SEEDS, tmp_path / "alone", "")
    assert json.loads((tmp_path / "alone" / "poor.json").read_text())["num_steps"] == 150
    weights = [(folder / "poor.safetensors").read_bytes() for folder in (tmp_path, tmp_path / "alone")]
    assert weights[0] == weights[1]


def test_return_that_is_never_reached_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"behaviour\.agents: good=501 was not reached in max_steps=300, only \d"):
        train(tiny("cartpole", agents={"poor": 1, "good": 501}), SEEDS, tmp_path, "")
    assert Behaviour.load("poor", tmp_path).env == "CartPole-v1"


@pytest.mark.parametrize("name", ["cartpole", "pendulum"])
def test_killed_training_goes_on_from_its_checkpoint(name: str, tmp_path: Path) -> None:
    changes = {"checkpoint_freq": 200, "max_steps": 300}
    killed = (
        "import os, pathlib\n"
        "from bcq_exp import agents\n"
        "from test_agents import *\n"
        f"cfg, steps = tiny({name!r}, **{changes!r}), []\n"
        "agent, folder = new_agent(cfg, 0), pathlib.Path('run')\n"
        "go_on(agent, folder, {})\n"
        "agents.learn(agent, cfg, folder, lambda: agent.num_timesteps < 250 or os.kill(os.getpid(), 9))\n"
    )
    environment = {"PYTHONPATH": str(Path(__file__).parent), "PATH": ""}
    done = subprocess.run([sys.executable, "-c", killed], cwd=tmp_path, env=environment, check=False)
    assert done.returncode == -9
    cfg, folder = tiny(name, **changes), tmp_path / "run"
    after = new_agent(cfg, 1)
    go_on(after, folder, {})
    # The step in which the checkpoint was written is not in the buffer, and is taken anew.
    assert after.num_timesteps == 199
    assert after.replay_buffer.size() == 199
    assert after.replay_buffer.dones[198, 0] == 1
    assert after._n_updates > 0
    optimizer = next(iter(after.policy.actor.optimizer.state.values())) if name == "pendulum" else None
    assert optimizer is None or optimizer["step"] > 0
    again = new_agent(cfg, 2)
    restore(again, folder / STATE)
    for ours, theirs in zip(after.policy.state_dict().values(), again.policy.state_dict().values(), strict=True):
        assert torch.equal(ours, theirs)
    learn(again, cfg, folder, lambda: True)
    assert 300 <= again.num_timesteps == again.replay_buffer.size() < 304  # DQN takes four steps at a time


def test_a_signal_saves_the_training(tmp_path: Path) -> None:
    cfg, agent = tiny("cartpole", max_steps=300), new_agent(tiny("cartpole"), 0)
    go_on(agent, tmp_path, {})
    with pytest.raises(Interrupted, match="stopped by SIGTERM"):
        learn(agent, cfg, tmp_path, lambda: agent.num_timesteps < 250 or os.kill(os.getpid(), signal.SIGTERM) is None)
    (tmp_path / f".{STATE}.{'0' * 32}.partial").write_text("half")
    after = new_agent(cfg, 1)
    go_on(after, tmp_path, {})
    assert after.num_timesteps == 250
    assert sorted(path.name for path in tmp_path.iterdir()) == ["training.json", STATE]


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
    train(tiny("cartpole"), SEEDS, tmp_path, "")
    with pytest.raises(ValueError, match=r"training\.json: another training is there; remove "):
        train(tiny("cartpole"), replace(SEEDS, seed=1), tmp_path, "")
    shutil.rmtree(tmp_path)
    train(tiny("cartpole"), replace(SEEDS, seed=1), tmp_path, "")


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
