"""Episodes of trained runs: the table of their returns, and the animation of the first one."""

import logging
from io import StringIO
from pathlib import Path
from typing import Any

import gymnasium as gym
import pytest
from PIL import Image
from rich.console import Console

from bcq_exp.analysis.played import played_table
from bcq_exp.analysis.trained_runs import TrainedRun, trained_runs
from bcq_exp.ope.schema import EvaluationConfig
from trained import on_file, train_run


@pytest.fixture
def runs(tmp_path: Path, discrete_file: Path) -> list[TrainedRun]:
    """Two runs, of which one acts at random."""
    for name, typed in (("a", "algorithm.eval_eps=1.0"), ("b", "algorithm=dqn")):
        train_run(tmp_path / name, typed, *on_file(discrete_file))
    return sorted(trained_runs(tmp_path, "cpu"), key=lambda run: run.directory)


def said(runs: list[TrainedRun], **keys: Any) -> str:
    """The table as it is printed."""
    usual = {"run": ".", "allow_modules": [], "ope": None, "select": False, "min_ess": 30.0, "num_resamples": 100,
             "episodes": 3, "eval_max_steps": 1000, "device": "cpu", "num_threads": 1, "compile": "never",
             "gamma": 0.99, "num_updates": 1, "batch_size": 1, "obs_eps": 0.1, "seed": 0, "video": False}  # fmt: skip
    out = StringIO()
    Console(file=out, width=200).print(played_table(runs, EvaluationConfig(**{**usual, **keys})))
    return out.getvalue()


def animations(runs: list[TrainedRun]) -> list[str]:
    return [path.name for run in runs for path in run.directory.glob("*.gif")]


def test_returns_are_the_same_with_an_animation(runs: list[TrainedRun], caplog: pytest.LogCaptureFixture) -> None:
    pytest.importorskip("pygame")
    plain = said(runs, episodes=1)
    assert animations(runs) == []
    with caplog.at_level(logging.INFO):
        assert said(runs, episodes=1, video=True) == plain
    assert animations(runs) == ["evaluation_update_00000020.gif"] * 2
    steps = [int(line.split()[-2]) for line in caplog.messages if line.startswith("drawing")]
    for run, length in zip(runs, steps, strict=True):
        with Image.open(run.directory / "evaluation_update_00000020.gif") as image:
            assert image.width == 320
            durations = []
            for number in range(image.n_frames):
                image.seek(number)
                durations.append(image.info["duration"])
        assert sum(durations) == 20 * (length + 1)  # 50 steps a second, and the beginning
        assert f" {length}.0 " in plain
    assert said(runs) == said(runs, video=True)


def test_nothing_is_played_where_an_environment_cannot_be_drawn(
    runs: list[TrainedRun], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bcq_exp.analysis.played.evaluate", pytest.fail)
    metadata = {"render_modes": ["human", "ansi"]}
    monkeypatch.setattr(gym.make("CartPole-v1").unwrapped.__class__, "metadata", metadata)
    with pytest.raises(ValueError, match=r"'CartPole-v1' cannot be drawn: its render modes are human, ansi, needed is"):
        said(runs, video=True)
    assert animations(runs) == []


def test_an_episode_that_is_not_repeated_costs_a_line(
    runs: list[TrainedRun], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    pytest.importorskip("pygame")
    plain = said(runs[:1])
    monkeypatch.setattr("bcq_exp.analysis.played.episode_seeds", lambda seed, num: [12345] * num)
    assert said(runs[:1], video=True) == plain
    assert "no animation: CartPole-v1: seed and actions do not decide its course" in caplog.text
    assert animations(runs) == []
