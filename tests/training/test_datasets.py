"""What a configuration leaves to a Minari dataset, and what every dataset has."""

import json
from dataclasses import fields
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
from omegaconf import OmegaConf

import pixels
from bcq_exp.data import check_against
from bcq_exp.data.schema import DatasetConfig
from bcq_exp.io.source import CONF_DIR
from bcq_exp.training.datasets import completed, load_parts
from bcq_exp.training.sections import plain
from cases import checked, composed


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Metadata alone, which is all that the check of a configuration reads."""
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    folder = tmp_path / "tests" / "small-v0"
    (folder / "data").mkdir(parents=True)
    describe(folder, env_spec=json.dumps({"id": "CartPole-v1"}), ref_min_score=20.0, ref_max_score=500.0)
    return folder


def describe(folder: Path, **metadata: object) -> None:
    (folder / "data" / "metadata.json").write_text(json.dumps(metadata))


ID = ("dataset=minari", "dataset.id=tests/small-v0")


FILE = ("dataset=h5", "dataset.path=x", "dataset.env=CartPole-v1")
REPLAY = ("dataset=atari-replay", "dataset.path=x", "dataset.game=Pong", f"dataset.env={pixels.ENV}",
          "network=nature_cnn")  # fmt: skip


def test_a_replay_dataset_has_the_environment_and_the_scores_of_its_game() -> None:
    section = completed(plain(composed(*REPLAY, "dataset.env=null"))["dataset"])
    assert [section[key] for key in ("name", "env", "ref_min", "ref_max")] == [
        "atari-replay-Pong", "ALE/Pong-v5", -20.7, 14.6,
    ]  # fmt: skip
    dataset = checked(*REPLAY, "dataset.game=Unheard", "dataset.checkpoints=[3,1]").dataset
    assert (dataset.env, dataset.ref_min, dataset.checkpoints) == (pixels.ENV, None, [3, 1])


def test_environment_and_references_are_those_of_the_metadata(folder: Path) -> None:
    for typed in (ID, ("dataset=minari", f"dataset.path={folder}")):
        dataset = checked(*typed).dataset
        assert (dataset.env, dataset.ref_min, dataset.ref_max) == ("CartPole-v1", 20.0, 500.0)


def test_what_is_typed_has_the_last_word(folder: Path) -> None:
    dataset = checked(*ID, "dataset.env=Acrobot-v1", "dataset.ref_min=-500", "dataset.ref_max=-60").dataset
    assert (dataset.env, dataset.ref_min, dataset.ref_max) == ("Acrobot-v1", -500, -60)


def test_the_name_is_the_id_without_folders(folder: Path) -> None:
    assert checked(*ID).dataset.name == composed(*ID).dataset.name == "tests-small-v0"


def test_an_environment_that_nobody_names_is_none_and_so_is_the_word(folder: Path) -> None:
    """Its references go with it."""
    section = plain(composed(*ID, "dataset.env=none"))["dataset"]
    assert [completed(section)[key] for key in ("env", "ref_min", "ref_max")] == [None, None, None]
    describe(folder)
    assert completed(section | {"env": None})["env"] is None
    dataset = checked(*ID, "dataset.env=CartPole-v1").dataset
    assert (dataset.env, dataset.ref_min) == ("CartPole-v1", None)


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        (("dataset=minari",), r"dataset: dataset\.id and dataset\.path are null"),
        (("dataset=minari", "dataset.id=no/such-v0"), "dataset: .*no/such-v0: no Minari dataset; .*minari download ID"),
        ((*ID, "dataset.ref_min=900"), "dataset: ref_min=900"),
        (("dataset=atari-replay", "dataset.path=x"), r"dataset\.game has no value; give one: dataset\.game=Pong"),
        ((*REPLAY, "dataset.checkpoints=0.0"), r"dataset: checkpoints=0\.0; allowed: a fraction of them, above 0\.0"),
        ((*REPLAY, "dataset.checkpoints=1.5"), r"checkpoints=1\.5; .*, or their numbers, as in \[0, 1\]"),
        ((*REPLAY, "dataset.checkpoints=1"), r"checkpoints=1; allowed"),
        ((*REPLAY, "dataset.checkpoints=[]"), r"checkpoints=\[\]; allowed"),
        ((*REPLAY, "dataset.checkpoints=[0,-1]"), r"checkpoints=\[0, -1\]; allowed"),
        ((*REPLAY, "dataset.checkpoints=[0.5]"), r"checkpoints=\[0\.5\]; allowed"),
        ((*REPLAY, "dataset.max_episode_steps=1"), r"dataset\.max_episode_steps=1 is outside \[2, inf\)"),
        ((*REPLAY, "dataset.max_episode_steps=0"), r"dataset\.max_episode_steps=0 is outside \[2, inf\)"),
        ((*FILE, "dataset.max_episode_steps=1"), "max_episode_steps=1 is below 2; .*, or 0 for none"),
        ((*FILE, "dataset.max_episode_steps=-1"), r"dataset\.max_episode_steps=-1 is outside \[0, inf\)"),
    ],
)
def test_what_is_missing_or_wrong_is_said(folder: Path, typed: tuple[str, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        checked(*typed)


@pytest.mark.filterwarnings("ignore")
def test_an_environment_with_states_by_number_fits_its_dataset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    minari = pytest.importorskip("minari")
    from minari.data_collector import EpisodeBuffer

    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    env, recorded = gym.make("FrozenLake-v1"), []
    env.action_space.seed(0)
    for seed in range(3):
        obs, steps = [env.reset(seed=seed)[0]], []
        while not steps or not (steps[-1][2] or steps[-1][3]):
            act = env.action_space.sample()
            obs_next, *step, _ = env.step(act)
            obs.append(obs_next)
            steps.append((act, *step))
        act, rew, terminated, truncated = map(np.array, zip(*steps, strict=True))
        recorded.append(
            EpisodeBuffer(
                id=seed,
                observations=np.array(obs),
                actions=act,
                rewards=rew,
                terminations=terminated,
                truncations=truncated,
            )
        )
    minari.create_dataset_from_buffers("tests/small-v0", recorded, env="FrozenLake-v1")
    cfg = checked(*ID)
    transitions = check_against(load_parts(cfg.dataset).learned, cfg.observation_space, cfg.action_space, batch_size=2)
    assert cfg.dataset.env == "FrozenLake-v1"
    np.testing.assert_array_equal(transitions.obs.sum(axis=1), 1)
    assert transitions.obs[0].argmax() == 0
    assert len(transitions.episode_returns) == 3


PREPROCESSING = Path(CONF_DIR) / "preprocessing" / "none.yaml"


# Datasets that are preprocessed unless something else is typed: of Atari games, whose rewards DQN clips, and of vital
# signs in units of their own.
CLIPPED = ("boxing-ram-noisy", "breakout-noisy", "breakout-ram-noisy")
PREPROCESSED = {name: {"reward_clip": [-1.0, 1.0]} for name in CLIPPED} | {"treatment": {"normalize_obs": True}}


@pytest.mark.parametrize("path", sorted((Path(CONF_DIR) / "dataset").glob("*.yaml")), ids=lambda path: path.stem)
def test_a_dataset_has_the_neutral_values_but_for_what_is_named_here(path: Path) -> None:
    neutral = OmegaConf.load(PREPROCESSING)
    dataset = composed(f"dataset={path.stem}").dataset
    expected = OmegaConf.merge(neutral, PREPROCESSED.get(path.stem, {}))
    assert OmegaConf.masked_copy(dataset, [str(key) for key in neutral]) == expected


def test_the_schema_and_the_neutral_values_have_the_same_keys() -> None:
    own = {"name", "format", "env", "ref_min", "ref_max"}
    assert {spec.name for spec in fields(DatasetConfig)} == own | set(OmegaConf.load(PREPROCESSING))


def test_a_files_time_limit_is_read_from_its_key(tmp_path: Path) -> None:
    """Twelve rows without a flag: three episodes of four, each of which leaves out its last."""
    columns = {"observations": np.zeros((12, 4)), "actions": np.zeros(12, int), "rewards": np.ones(12)}
    np.savez(tmp_path / "a.npz", **columns, terminals=np.zeros(12))
    found = [
        checked(*FILE, f"dataset.path={tmp_path / 'a.npz'}", f"dataset.max_episode_steps={limit}").dataset.read()
        for limit in (4, 0)
    ]
    assert [each.episode_returns.tolist() for each in found] == [[4, 4, 4], [12]]
    assert [len(each) for each in found] == [9, 11]
