"""A name cannot lead out of its folder: anything else is refused before a file is written."""

import re
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from bcq_exp.data.formats.minari import minari_folder
from bcq_exp.fields import NAME, file_name
from bcq_exp.io.source import CONF_DIR
from bcq_exp.training.config import check, checked_training
from bcq_exp.training.datasets import checked_dataset
from cases import checked, composed

NO_NAMES = [
    "/any/dir", "../up", "..", ".", ".hidden", "a/b", "a\\b", "", " ", "a b", "a\nb", "a\0b", "~", "é", "x" * 101,
    "a:b",
]  # fmt: skip
NAMES = ["a", "cartpole-noisy", "hopper-medium-v2", "D4RL-pen-human-v2", "c++", "x" * 100, "2020-01-01", "a.b_c+d-e"]
PENDULUM = ("algorithm=bcq", "dataset=pendulum-final-buffer")


KEYS = ["dataset.name", "network.name", "algorithm.name", "logger.name", "dataset.training.name"]


@pytest.mark.parametrize("key", KEYS)
def test_keys_that_are_named_in_paths_take_names_only(key: str):
    cfg = composed(*(PENDULUM if "training" in key else ()))
    said = r"behaviour\.name" if "training" in key else re.escape(key)
    for value in NO_NAMES:
        OmegaConf.update(cfg, key, value)
        with pytest.raises(ValueError, match=rf"(?s){said}=.* is no(ne of| name)"):
            check(cfg)


def test_names_are_taken():
    cfg = composed()
    for value in NAMES:
        cfg.dataset.name = value
        assert checked_dataset(cfg).name == value


def test_an_agent_that_is_trained_and_its_dataset_have_names():
    agent, dataset = (composed(each, config="collect") for each in ("behaviour=pendulum", "dataset=pendulum-noisy"))
    assert list(checked_training(agent)[0].agents) == ["pendulum"]
    for value in NO_NAMES:
        agent.behaviour.agents, dataset.dataset.name = {value: None}, value
        with pytest.raises(ValueError, match="is no name; allowed"):
            checked_training(agent)
        with pytest.raises(ValueError, match=r"(?s)dataset\.name=.* is no name; allowed"):
            checked_dataset(dataset)


@pytest.mark.parametrize("value", ["/any/dir", "x/../../../../up", "../../up", "..", "???"])
def test_directories_of_runs_stay_in_their_folder_before_anything_is_checked(value: str):
    hydra = OmegaConf.to_container(OmegaConf.load(Path(CONF_DIR) / "config.yaml"))["hydra"]
    own = {"run": hydra["run"], "sweep": {"subdir": hydra["sweep"]["subdir"]}}
    cfg = composed()
    for key in ("dataset.name", "algorithm.name", "seed"):
        OmegaConf.update(cfg, key, value)
    whole = OmegaConf.create({**OmegaConf.to_container(cfg), "hydra": own})
    path = Path(whole.hydra.run.dir)
    assert path.parts[0] == "outputs"
    assert len(path.parts) == 3
    assert ".." not in path.parts
    assert Path(whole.hydra.sweep.subdir).name == whole.hydra.sweep.subdir


@pytest.mark.parametrize("text", NO_NAMES + NAMES, ids=repr)
def test_every_text_has_a_name_near_it(text: str):
    assert NAME.fullmatch(file_name(text))
    if text in NAMES:
        assert file_name(text) == text


@pytest.mark.parametrize("id_", ["../x-v0", "/etc", "a/../b-v0", "a//b", "", "a\0b", "a/", "a b"])
def test_an_id_of_minari_stays_in_minaris_folder(id_: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    with pytest.raises(ValueError, match=r"dataset\.id=.* is no id of Minari"):
        minari_folder(id_, None)


def test_a_dataset_whose_name_is_a_path_writes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("BCQ_EXP_CACHE", str(tmp_path / "cache"))
    with pytest.raises(ValueError, match=r"dataset\.name"):
        checked(f"dataset.name={tmp_path}/elsewhere")
    assert list(tmp_path.iterdir()) == []
