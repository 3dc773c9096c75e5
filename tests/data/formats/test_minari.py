"""Datasets that Minari itself wrote."""

import json
import logging
import os
import shutil
import sys
from pathlib import Path
from typing import Any

import gymnasium as gym
import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bcq_exp.data import read_transitions
from bcq_exp.data.formats.minari import minari_folder, read_facts, read_minari
from bcq_exp.envs.observations import flatten

minari = pytest.importorskip("minari")
from minari.data_collector import EpisodeBuffer  # noqa: E402

DATASET_ID = "tests/small-v0"
GOAL = gym.spaces.Dict({"observation": gym.spaces.Box(-9, 9, (2,)), "desired_goal": gym.spaces.Box(-9, 9, (1,))})


def stacked(space: gym.Space[Any], num: int) -> Any:
    if isinstance(space, gym.spaces.Dict):
        return {key: stacked(part, num) for key, part in space.spaces.items()}
    return np.stack([space.sample() for _ in range(num)])


def episodes(observation_space: gym.Space[Any], action_space: gym.Space[Any]) -> list[EpisodeBuffer]:
    """Of 3, 1, 4 and 2 steps: terminated, terminated at once, time limit, and without a flag at the end."""
    observation_space.seed(0)
    action_space.seed(0)
    rng, found = np.random.default_rng(0), []
    for number, (length, end) in enumerate([(3, "terminated"), (1, "terminated"), (4, "truncated"), (2, None)]):
        last = np.arange(length) == length - 1
        found.append(
            EpisodeBuffer(
                id=number,
                observations=stacked(observation_space, length + 1),
                actions=np.stack([action_space.sample() for _ in range(length)]),
                rewards=rng.normal(size=length),
                terminations=last & (end == "terminated"),
                truncations=last & (end == "truncated"),
            )
        )
    return found


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "root"))
    return tmp_path / "root"


def write(observation_space: gym.Space[Any], action_space: gym.Space[Any]) -> tuple[Path, list[EpisodeBuffer]]:
    buffer = episodes(observation_space, action_space)
    minari.create_dataset_from_buffers(
        DATASET_ID, buffer, observation_space=observation_space, action_space=action_space
    )
    return minari_folder(DATASET_ID, None), buffer


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("action_space", [gym.spaces.Discrete(3), gym.spaces.Box(-1, 1, (2,))], ids=["act", "acts"])
@pytest.mark.parametrize(
    "observation_space",
    [gym.spaces.Box(-1, 1, (3,), np.float64), gym.spaces.Discrete(5), GOAL],
    ids=["box", "discrete", "dict"],
)
def test_rows_as_in_a_slow_loop(root: Path, observation_space: gym.Space[Any], action_space: gym.Space[Any]) -> None:
    folder, buffer = write(observation_space, action_space)
    assert folder == root / DATASET_ID
    found = read_transitions(folder)
    row = 0
    for episode in buffer:
        obs = flatten(observation_space, episode.observations)
        num_steps = len(episode.rewards)
        for step in range(num_steps):
            np.testing.assert_allclose(found.obs[row], obs[step], rtol=1e-6)
            np.testing.assert_allclose(found.obs_next[row], obs[step + 1], rtol=1e-6)
            np.testing.assert_allclose(found.act[row], episode.actions[step])
            assert found.rew[row] == np.float32(episode.rewards[step])
            assert found.terminated[row] == episode.terminations[step]
            is_end = step == num_steps - 1
            assert found.truncated[row] == (is_end and not episode.terminations[step])
            row += 1
    assert row == len(found) == 10
    np.testing.assert_allclose(found.episode_returns, [np.sum(e.rewards) for e in buffer], rtol=1e-6)
    assert found.act.dtype == (np.int64 if isinstance(action_space, gym.spaces.Discrete) else np.float32)


BOX, ACT = gym.spaces.Box(-1, 1, (3,)), gym.spaces.Discrete(2)


@pytest.mark.filterwarnings("ignore")
def test_the_data_folder_itself_is_read_too(root: Path) -> None:
    folder, _ = write(BOX, ACT)
    np.testing.assert_array_equal(read_minari(folder / "data").obs, read_minari(folder).obs)


@pytest.mark.filterwarnings("ignore")
def test_metadata_name_the_environment_and_the_references(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    minari.create_dataset_from_buffers(
        DATASET_ID, episodes(BOX, ACT), env="CartPole-v1", observation_space=BOX, action_space=ACT,
        ref_min_score=1.5, ref_max_score=9.5,
    )  # fmt: skip
    folder = minari_folder(DATASET_ID, None)
    assert read_facts(folder) == {"env": "CartPole-v1", "ref_min": 1.5, "ref_max": 9.5}
    path = folder / "data" / "metadata.json"
    metadata = json.loads(path.read_text())
    spec = json.loads(metadata["env_spec"])
    path.write_text(json.dumps(metadata | {"eval_env_spec": json.dumps(spec | {"id": "Acrobot-v1"})}))
    assert read_facts(folder)["env"] == "Acrobot-v1"
    for kwargs, said in [({"map_name": "4x4"}, 0), ({"map_name": "4x4", "is_slippery": False}, 1)]:
        lake = spec | {"id": "FrozenLake-v1", "kwargs": kwargs}
        path.write_text(json.dumps(metadata | {"env_spec": json.dumps(lake)}))
        with caplog.at_level(logging.WARNING):
            read_minari(folder)
        assert caplog.text.count("the arguments {'is_slippery': False}; policies are evaluated without") == said


@pytest.mark.filterwarnings("ignore")
def test_metadata_that_say_nothing_give_nothing(root: Path) -> None:
    folder, _ = write(BOX, ACT)
    assert read_facts(folder) == {"env": None, "ref_min": None, "ref_max": None}


def test_folder_is_the_typed_one_or_below_the_root(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert minari_folder("a/b-v0", None) == root / "a" / "b-v0"
    assert minari_folder("a/b-v0", "/x") == Path("/x")
    monkeypatch.delenv("MINARI_DATASETS_PATH")
    assert minari_folder("b-v0", None) == Path.home() / ".minari" / "datasets" / "b-v0"
    with pytest.raises(ValueError, match=r"dataset\.id and dataset\.path are null"):
        minari_folder(None, None)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("rewards", [1, np.nan, 3, 4], "episode_2/rewards row 1 is nan"),
        ("rewards", [1, 2, 3], "episode_2/rewards ends before row 3, episode_2/actions has 4 rows"),
        ("rewards", [[1, 2], [3, 4], [5, 6], [7, 8]], r"episode_2/rewards has shape \(4, 2\)"),
        ("observations", np.zeros((4, 3)), "episode_2/observations has 4 rows, episode_2/rewards has 4; .*one observ"),
        ("observations", np.full((5, 3), np.inf), "episode_2/observations row 0 is inf"),
        ("observations", np.zeros((5, 2)), "observations or actions differ between episodes"),
        ("actions", [0, 1, 0.5, 0], "episode_2/actions row 2 is 0.5"),
        ("terminations", [0, 0, 2, 0], "episode_2/terminations row 2 is 2"),
        ("terminations", None, "not a readable Minari dataset"),
    ],
)
def test_fault_names_folder_key_and_row(root: Path, key: str, value: Any, message: str) -> None:
    folder, _ = write(BOX, ACT)
    with h5py.File(folder / "data" / "main_data.hdf5", "a") as file:
        del file[f"episode_2/{key}"]
        if value is not None:
            file[f"episode_2/{key}"] = value
    with pytest.raises(ValueError, match=f"small-v0: {message}"):
        read_minari(folder)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("content", ["", "{", "[1]", '{"env_spec": "["}', '{"env_spec": 3}'])
def test_damaged_metadata(root: Path, content: str) -> None:
    folder, _ = write(BOX, ACT)
    (folder / "data" / "metadata.json").write_text(content)
    for reader in (read_facts, read_minari):
        with pytest.raises(ValueError, match=r"metadata\.json: (not|env_spec is no)"):
            reader(folder)


def test_a_folder_without_a_dataset(tmp_path: Path) -> None:
    for reader in (read_facts, read_minari, read_transitions):
        with pytest.raises(FileNotFoundError, match="no Minari dataset; fetch it with `minari download ID`"):
            reader(tmp_path)


@pytest.mark.filterwarnings("ignore")
def test_missing_library_is_named(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, _ = write(BOX, ACT)
    monkeypatch.setitem(sys.modules, "minari", None)
    with pytest.raises(ValueError, match=r"minari: pip install 'bcq_exp\[minari\]'"):
        read_minari(folder)


@pytest.mark.filterwarnings("ignore")
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_file_cut_anywhere_is_refused_or_right(root: Path, data: st.DataObject) -> None:
    folder = minari_folder(DATASET_ID, None)
    if not folder.exists():
        write(BOX, ACT)
    expected = read_minari(folder).rew
    cut = root.parent / "cut"
    shutil.rmtree(cut, ignore_errors=True)
    shutil.copytree(folder, cut)
    file = cut / "data" / "main_data.hdf5"
    os.truncate(file, data.draw(st.integers(0, file.stat().st_size)))
    try:
        found = read_minari(cut)
    except ValueError as error:
        message = str(error)
    else:
        np.testing.assert_array_equal(found.rew, expected)
        return
    assert message.startswith(f"{cut}: ")
