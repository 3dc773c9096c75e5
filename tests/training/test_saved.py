from pathlib import Path

import pytest
from omegaconf import OmegaConf

from bcq_exp.training.config import check
from bcq_exp.training.saved import allowed_modules, saved_config, saved_overrides
from cases import composed


def saved(folder: Path, *typed: str) -> Path:
    (folder / ".hydra").mkdir()
    OmegaConf.save(composed(*typed), folder / ".hydra" / "config.yaml")
    OmegaConf.save(list(typed), folder / ".hydra" / "overrides.yaml")
    return folder


def test_a_saved_configuration_is_the_one_that_was_composed(tmp_path: Path):
    typed = ("seed=3", "optimizer.lr=1e-5", "dataset.reward_clip=[-1,1]")
    found = saved_config(saved(tmp_path, *typed))
    assert found == composed(*typed)
    assert check(found) == check(composed(*typed))
    assert saved_overrides(tmp_path) == typed


def test_one_of_an_earlier_release_that_has_no_such_key_allows_nothing(tmp_path: Path):
    path = saved(tmp_path) / ".hydra" / "config.yaml"
    path.write_text(path.read_text().replace("allow_modules: []\n", ""))
    assert check(saved_config(tmp_path)).schedule.allow_modules == []


@pytest.mark.parametrize("typed", [("algorithm=cql", "dataset=pendulum-noisy"), ("algorithm=dqn", "network=mlp")])
def test_keys_that_came_since_have_the_values_of_conf(tmp_path: Path, typed: tuple[str, ...]):
    path = saved(tmp_path, *typed, "optimizer.lr=5e-5", "algorithm.gamma=0.9") / ".hydra" / "config.yaml"
    cfg = OmegaConf.load(path)
    for key in ("optimizers", "tau", "gamma"):
        cfg.algorithm.pop(key, None)
    del cfg.optimizer["eps"], cfg.network["activation"]
    OmegaConf.save(cfg, path)
    assert saved_config(tmp_path) == composed(*typed, "optimizer.lr=5e-5")


def test_a_key_whose_older_runs_had_another_value_than_conf_has_that_one(tmp_path: Path):
    typed = ("algorithm=mcq", "dataset=pendulum-noisy")
    path = saved(tmp_path, *typed) / ".hydra" / "config.yaml"
    cfg = OmegaConf.load(path)
    del cfg.algorithm["excess"], cfg.dataset["return_range"]
    OmegaConf.save(cfg, path)
    assert saved_config(tmp_path) == composed(*typed, "algorithm.excess=rectified")


@pytest.mark.parametrize("name", ["../dqn", "gone", "", None, 3])
def test_of_a_choice_that_is_not_in_conf_nothing_is_completed(tmp_path: Path, name: object):
    path = saved(tmp_path) / ".hydra" / "config.yaml"
    cfg = OmegaConf.load(path)
    cfg.algorithm = {"name": name}
    OmegaConf.save(cfg, path)
    assert saved_config(tmp_path).algorithm == {"name": name}


def test_a_section_that_is_no_mapping_stays_so_that_the_check_names_it(tmp_path: Path):
    path = saved(tmp_path, "algorithm=iql", "dataset=pendulum-noisy") / ".hydra" / "config.yaml"
    cfg = OmegaConf.load(path)
    cfg.algorithm.optimizers = 3
    OmegaConf.save(cfg, path)
    with pytest.raises(ValueError, match=r"algorithm\.optimizers=3 is no mapping of value, policy, critics"):
        check(saved_config(tmp_path))


@pytest.mark.parametrize(
    ("typed", "name"),
    [
        (("dataset=minari", "dataset.id=D4RL/pen/human-v2"), "D4RL-pen-human-v2"),
        (("dataset=minari", "dataset.path=/my data/x"), "my-data-x"),
        (("dataset=d4rl", "dataset.id=hopper-medium-v2"), "hopper-medium-v2"),
        (("dataset=atari-replay", "dataset.game=Pong", "dataset.path=x"), "atari-replay-Pong"),
    ],
)
def test_names_made_of_other_keys_are_read_back(tmp_path: Path, typed: tuple[str, ...], name: str):
    assert "${" in saved(tmp_path, *typed).joinpath(".hydra", "config.yaml").read_text()
    found = saved_config(tmp_path)
    assert found.dataset.name == name
    assert "${" not in OmegaConf.to_yaml(found)


@pytest.mark.parametrize("content", ["[]", "3", "a", "", "null"])
def test_what_is_no_configuration_is_said(tmp_path: Path, content: str):
    for name, read in (("config", saved_config), ("overrides", saved_overrides)):
        path = tmp_path / ".hydra" / f"{name}.yaml"
        path.parent.mkdir(exist_ok=True)
        path.write_text("{a: 1}" if (name, content) == ("overrides", "[]") else content)
        with pytest.raises(ValueError, match=rf"{name}\.yaml: cannot be read, damaged or altered \(no "):
            read(tmp_path)


def test_overrides_are_words_as_they_were_typed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("CANARY", "its value")
    (saved(tmp_path) / ".hydra" / "overrides.yaml").write_text("- dataset.path=${oc.env:CANARY}\n")
    assert saved_overrides(tmp_path) == ("dataset.path=${oc.env:CANARY}",)


@pytest.mark.parametrize("value", ["own_envs", 3, [1], None, {"a": "b"}])
def test_modules_are_allowed_by_a_list_of_names(value: object):
    with pytest.raises(ValueError, match=r"allow_modules=.* is no list of modules' names"):
        allowed_modules(OmegaConf.create({"allow_modules": value}))
    assert allowed_modules(OmegaConf.create({"allow_modules": ["a", "b.c"]})) == ["a", "b.c"]


WANDB_KEYS = {"project": "bcq_exp", "group": None, "tags": [], "job_type": "train"}
WANDB_KEYS_NOW = {**WANDB_KEYS, "mode": None, "entity": None, "artifacts": False}


@pytest.mark.parametrize(("name", "kept"), [("csv", {}), ("wandb", WANDB_KEYS_NOW), ("gone", WANDB_KEYS)])
def test_a_logger_of_an_earlier_release_keeps_the_keys_that_its_kind_has(tmp_path: Path, name: str, kept: dict):
    """Those releases gave every logger the keys of W&B, and no other kind read them."""
    path = saved(tmp_path) / ".hydra" / "config.yaml"
    cfg = OmegaConf.load(path)
    cfg.logger = {"name": name, **WANDB_KEYS}
    OmegaConf.save(cfg, path)
    assert saved_config(tmp_path).logger == {"name": name, **kept}


@pytest.mark.parametrize("name", ["csv", "wandb"])
def test_a_key_that_no_release_gave_a_logger_stays_and_is_refused(tmp_path: Path, name: str):
    path = saved(tmp_path, f"logger={name}") / ".hydra" / "config.yaml"
    path.write_text(path.read_text().replace(f"  name: {name}\n", f"  name: {name}\n  colour: red\n"))
    with pytest.raises(ValueError, match=r"logger\.colour is not a key of"):
        check(saved_config(tmp_path))
