"""A configuration cannot execute code: no tag, `_target_` or name of a class in it is looked up."""

import subprocess
import sys
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from bcq_exp.io.files import write_json
from bcq_exp.sweeps.group import Group
from bcq_exp.training.config import check
from bcq_exp.training.saved import saved_config, saved_overrides
from cases import composed

TAGS = [
    "!!python/object/apply:os.system ['touch executed']",
    "!!python/object/new:os.system ['touch executed']",
    "!!python/name:os.system",
    "!!python/module:own_envs",
    "!!python/object:own_envs.Own {}",
    "!own {}",
]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "own_envs.py").write_text("import pathlib\npathlib.Path('executed').touch()\nclass Own: pass\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    sys.modules.pop("own_envs", None)
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize("tag", TAGS)
@pytest.mark.parametrize("name", ["config.yaml", "overrides.yaml"])
def test_tags_in_a_saved_configuration(here: Path, name: str, tag: str):
    (here / ".hydra").mkdir()
    (here / ".hydra" / name).write_text(f"- {tag}" if name == "overrides.yaml" else f"dataset:\n  env: {tag}")
    with pytest.raises(ValueError, match=rf"{name}: cannot be read, .*the tag"):
        (saved_config if name == "config.yaml" else saved_overrides)(here)


@pytest.mark.parametrize("section", ["", "dataset", "algorithm", "network", "optimizer", "logger"])
@pytest.mark.parametrize("key", ["_target_", "_partial_", "_args_", "_recursive_"])
def test_targets_in_any_section(here: Path, section: str, key: str):
    cfg = composed()
    OmegaConf.update(cfg, f"{section}.{key}".lstrip("."), "own_envs.Own", force_add=True)
    with pytest.raises(ValueError, match=f"{key} is not a key of"):
        check(cfg)


@pytest.mark.parametrize("key", ["dataset.noise", "dataset.training.arguments", "dataset.training.agents"])
def test_targets_in_sections_that_are_handed_on(here: Path, key: str):
    typed = ("algorithm=bcq", "dataset=pendulum-final-buffer") if "training" in key else ()
    cfg = composed(*typed)
    OmegaConf.update(cfg, key, {"_target_": "own_envs.Own"}, merge=True, force_add=True)
    if key == "dataset.training.arguments":  # taken as a keyword that the agent's class does not have
        check(cfg)
        return
    with pytest.raises(ValueError, match="dataset"):
        check(cfg)


def test_a_manifest_of_a_group_is_json_alone(here: Path):
    path = here / "groups" / "x.json"
    path.parent.mkdir()
    fields = {"runs": [], "num_threads": 1, "device": "cpu"}
    write_json(path, fields)
    assert Group.read(path).device == "cpu"
    path.write_text("!!python/object/apply:os.system ['touch executed']")
    with pytest.raises(ValueError):
        Group.read(path)


def test_tags_in_a_yaml_of_ones_own(here: Path):
    (here / "conf" / "experiment").mkdir(parents=True)
    for number, tag in enumerate(TAGS):
        (here / "conf" / "experiment" / f"own{number}.yaml").write_text(f"# @package _global_\ndevice: {tag}\n")
    script = (
        "import sys; from pathlib import Path; from hydra import compose, initialize_config_dir\n"
        "from bcq_exp.io.source import CONF_DIR\n"
        f"with initialize_config_dir(CONF_DIR, version_base='1.3'):\n"
        f"  for number in range({len(TAGS)}):\n"
        "    try: compose('config', ['hydra.searchpath=[file://' + str(Path('conf').absolute()) + ']',"
        " f'experiment=own{number}']); print('composed')\n"
        "    except Exception as error: print(type(error).__name__)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=here, capture_output=True, text=True, timeout=300)
    assert done.stdout.split() == ["ConstructorError"] * len(TAGS), done.stderr
