"""Datasets with a known fault each, and real ones."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.image import imread

from bcq_exp.analysis.datasets.inspection import count_duplicates, inspect, main, plot, read_flags
from bcq_exp.data import Transitions, write_h5
from bcq_exp.data.formats import layouts, readers
from bcq_exp.data.preprocessing import episode_lengths
from cases import REPLAYS, random_walk, write_datasets


def made(num_rows: int = 400, **changed: Any) -> Transitions:
    """Episodes of 7 or 13 rows in turn, the long ones cut by a time limit; nothing is wrong with them."""
    rng = np.random.default_rng(0)
    step = np.arange(num_rows) % 20
    columns = {
        "obs": rng.normal(size=(num_rows, 3)),
        "act": rng.uniform(-1, 1, (num_rows, 2)),
        "rew": rng.normal(size=num_rows),
        "terminated": step == 6,
        "truncated": step == 19,
        "obs_next": rng.normal(size=(num_rows, 3)),
    }
    return Transitions.from_columns(columns | changed, "made here")


def test_counts_by_hand() -> None:
    transitions = made()
    np.testing.assert_array_equal(episode_lengths(transitions), [7, 13] * 20)
    found = inspect(transitions, {})
    assert found.facts["transitions"] == "400"
    assert found.facts["episodes"] == "40: 20 terminated, 20 truncated"
    assert found.facts["episode length"] == "10 ± 3; 7 to 13, quartiles 7, 10, 13"
    assert found.facts["return"].startswith(f"{transitions.episode_returns.mean():.4g} ± ")
    assert found.warnings == []


def test_discrete_actions_are_counted_and_those_never_taken_named() -> None:
    act = np.repeat([0, 1, 4], [100, 100, 200])
    found = inspect(made(act=act), {})
    assert found.facts["actions"] == "discrete, 3 taken; 0: 25.0%, 1: 25.0%, 4: 50.0%"
    assert found.warnings == ["actions that are never taken: 2, 3; nothing can be learned about them"]


def test_saturated_actions_are_counted() -> None:
    act = np.tile(np.linspace(-0.9, 0.9, 400)[:, None], (1, 2))
    act[:40, 0], act[40:60, 0] = -2, 1.99
    found = inspect(made(act=act), {})
    assert "15.0% in the outer hundredths" in found.facts["action[0]"]
    assert "-2 to 1.99" in found.facts["action[0]"]


@pytest.mark.parametrize("num_copies", [0, 3])
def test_duplicates_are_rows_that_are_equal_in_every_column(num_copies: int) -> None:
    transitions = made()
    for key in ("obs", "act", "rew", "obs_next", "terminated", "truncated"):
        column = getattr(transitions, key)
        column[21 : 21 + num_copies] = column[0]
    transitions.obs[50], transitions.act[50] = transitions.obs[51], transitions.act[51]
    assert count_duplicates(transitions) == num_copies


def flagged(num_rows: int, rows: list[int]) -> np.ndarray:
    return np.isin(np.arange(num_rows), rows)


STEP = np.arange(400) % 20


@pytest.mark.parametrize(
    ("changed", "flags", "warning"),
    [
        (
            {},
            {"terminals": (STEP == 5) | (STEP == 6), "episode_terminals": (STEP == 6) | (STEP == 19)},
            r"terminals set twice: they are 1 in 20 rows that do not end an episode, first in row 5",
        ),
        (
            {"terminated": (STEP == 5) | (STEP == 6)},
            {},
            r"terminals set twice: 20 episodes of one row terminate right behind .* first in row 6",
        ),
        (
            {"terminated": (STEP == 6) | (STEP == 19)},
            {},
            r"20 rows are both terminal and a time limit, first row 19",
        ),
        (
            {},
            {"terminals": STEP == 6, "timeouts": flagged(400, [6, 19, 46])},
            r"2 rows are both terminal and a time limit, first row 6",
        ),
        (
            {"terminated": (STEP == 6) | (STEP == 19), "truncated": np.zeros(400)},
            {},
            r"a time limit marked as terminal\? 20 of 40 episodes terminate after 13 steps",
        ),
        ({"obs": np.ones((400, 3)) * [1, 2, 3]}, {}, r"constant observations: 3 of 3 dimensions .*\(0, 1, 2\)"),
        ({"rew": np.arange(400) % 3 - 1}, {}, r"rewards that look clipped: all are -1, 0 or 1"),
        (
            {"rew": np.minimum(np.arange(400), 300)},
            {},
            r"rewards that look clipped: 25\.0% are 300, the highest",
        ),
        ({"act": np.tile([0.5, 0.1], (400, 1))}, {}, r"constant actions: dimensions 0, 1"),
    ],
)
def test_a_fault_is_a_warning(changed: dict[str, Any], flags: dict[str, np.ndarray], warning: str) -> None:
    found = inspect(made(**changed), flags).warnings
    assert any(re.search(warning, line) for line in found), found


@pytest.mark.parametrize(
    "changed",
    [
        {"rew": np.ones(400)},  # as in CartPole
        {"rew": np.arange(400) % 2},  # a sparse reward
        {"terminated": np.ones(400), "truncated": np.zeros(400)},  # episodes of one step
        {"obs": np.tile(np.arange(400)[:, None], (1, 3))},
    ],
)
def test_what_may_well_be_is_none(changed: dict[str, Any]) -> None:
    assert inspect(made(**changed), {}).warnings == []


def test_constant_borders_of_images_are_none() -> None:
    images = np.random.default_rng(0).integers(256, size=(400, 1, 4, 4), dtype=np.uint8)
    images[:, :, 0] = 0
    assert inspect(made(obs=images, obs_next=images), {}).warnings == []
    assert len(inspect(made(obs=images * 0, obs_next=images), {}).warnings) == 1


@pytest.mark.parametrize(
    "transitions",
    [
        random_walk(5, is_discrete=True),
        random_walk(5, is_discrete=False),
        made(act=np.zeros((400, 30))),
        made(obs=np.full((400, 2, 8, 8), 3, np.uint8), obs_next=np.zeros((400, 2, 8, 8), np.uint8)),
    ],
    ids=["discrete", "continuous", "wide", "images"],
)
def test_the_plot_has_six_panels(tmp_path: Path, transitions: Transitions) -> None:
    plot(transitions, tmp_path / "found.png")
    pixels = imread(tmp_path / "found.png")[..., :3]
    assert pixels.shape == (750, 1500, 3)
    for row in np.split(pixels, 2):
        for panel in np.split(row, 3, axis=1):
            assert (np.ptp(panel, axis=2) > 0.1).sum() > 20  # coloured, not only axes


def test_command_prints_the_table_and_says_where_the_plots_are(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_h5(tmp_path / "own.h5", made(obs=np.ones((400, 3))), "CartPole-v1", {})
    main(["own.h5"])
    printed = capsys.readouterr().out
    assert re.search(r"transitions +400", printed)
    assert "warning: constant observations: 3 of 3" in printed
    assert "plots: outputs/inspect/own.png" in printed
    assert imread("outputs/inspect/own.png").size
    with pytest.raises(FileNotFoundError, match=r"absent\.h5: no such file"):
        main(["absent.h5"])


def test_flags_are_those_of_the_file(tmp_path: Path) -> None:
    flags = {"terminals": np.array([0.0, 1]), "timeouts": np.array([1, 0])}
    write_datasets(tmp_path / "a.h5", {**flags, "infos": 3})
    np.savez(tmp_path / "a.npz", **flags, obs=np.ones(2))
    for name in ("a.h5", "a.npz"):
        found = read_flags(tmp_path / name)
        assert {key: value.tolist() for key, value in found.items()} == {
            "terminals": [False, True],
            "timeouts": [True, False],
        }


@pytest.mark.parametrize(
    ("name", "facts", "num_warnings"),
    [
        ("cartpole_replay", ["transitions +99,732", "1,448 terminated, 134 truncated", "in 1,448 rows"], 1),
        ("pendulum_replay", ["transitions +99,000", "0 terminated, 500 truncated", "warnings: none"], 0),
    ],
)
def test_real_files(
    name: str, facts: list[str], num_warnings: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = REPLAYS / f"{name}.h5"
    if not path.is_file():
        pytest.skip(f"{name} is not here")
    main([str(path), "--png", str(tmp_path / "found.png")])
    printed = capsys.readouterr().out
    for fact in facts:
        assert re.search(fact, printed), printed
    assert printed.count("warning: ") == num_warnings


def test_the_columns_of_each_layout_are_printed(capsys: pytest.CaptureFixture[str]) -> None:
    """Every name that a reader looks for stands there, in brackets where it may be missing."""
    main(["--layouts"])
    printed = capsys.readouterr().out
    for layout in layouts.LAYOUTS:
        assert layout.title in printed
        for name, key in layout.names.items():
            assert (key if name in layout.required else f"[{key}]") in printed
    assert all(each.title in printed for each in readers.FORMATS)


def test_a_file_of_no_known_layout_points_to_them(tmp_path: Path) -> None:
    write_datasets(tmp_path / "a.h5", {"state": np.ones(3)})
    with pytest.raises(ValueError, match=r"a\.h5: unknown layout with keys state; .*inspect --layouts"):
        main([str(tmp_path / "a.h5")])
    with pytest.raises(SystemExit, match="give PATH, or --layouts"):
        main([])
