"""An episode that never ends is cut at a limit, with a warning, and the run keeps everything that it has computed."""

from collections.abc import Iterator
from pathlib import Path

import gymnasium as gym
import pytest
from gymnasium.envs.classic_control import PendulumEnv

from bcq_exp.data import write_h5
from bcq_exp.envs.environments import spaces
from bcq_exp.io.files import read_json
from cases import random_walk
from trained import on_file, train_run


@pytest.fixture(autouse=True)
def _endless() -> Iterator[None]:
    gym.register("EndlessPendulum-v0", PendulumEnv)  # its time limit is the registered environment's, not its own
    yield
    del gym.registry["EndlessPendulum-v0"]
    spaces.cache_clear()


def test_a_run_ends_with_its_summary_its_checkpoint_and_a_mark(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_h5(tmp_path / "data.h5", random_walk(20, is_discrete=False), "EndlessPendulum-v0", {})
    typed = on_file(tmp_path / "data.h5", "EndlessPendulum-v0")
    train_run(tmp_path / "run", "algorithm=td3_bc", "eval_max_steps=15", *typed)
    summary = read_json(tmp_path / "run" / "summary.json")
    assert summary["status"] == "finished"
    assert summary["final_return"] < 0
    assert summary["final_cut_episodes"] == 2
    assert (tmp_path / "run" / "checkpoints" / "update_00000020").is_dir()
    header, *rows = (tmp_path / "run" / "metrics.csv").read_text().splitlines()
    named = dict(zip(header.split(","), rows[-1].split(","), strict=True))
    assert (float(named["eval/length"]), float(named["eval/cut_episodes"])) == (15, 2)
    assert any(line.startswith("EndlessPendulum-v0: 2 of 2 episodes had not ended") for line in caplog.messages)


def test_an_episode_that_ends_leaves_no_mark(tmp_path: Path) -> None:
    write_h5(tmp_path / "data.h5", random_walk(20, is_discrete=True), "CartPole-v1", {})
    train_run(tmp_path / "run", *on_file(tmp_path / "data.h5"))
    assert read_json(tmp_path / "run" / "summary.json")["final_cut_episodes"] == 0
