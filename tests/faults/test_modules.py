"""A module is imported only where the user has named it, never because a run, a dataset or a cache names it."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from omegaconf import OmegaConf

from bcq_exp.analysis.trained_runs import trained_runs
from bcq_exp.behaviours import agents as behaviour
from bcq_exp.data.formats.minari import read_minari
from bcq_exp.envs.environments import spaces
from bcq_exp.io.files import read_json, write_json
from bcq_exp.sweeps.group import Group, read_jobs
from bcq_exp.training.config import check
from bcq_exp.training.saved import saved_config
from cases import checked, composed
from trained import on_file, train_run

OWN = "own_envs:Own-v0"
MODULE = """
import pathlib
import gymnasium as gym
pathlib.Path("executed").touch()
gym.register("Own-v0", "gymnasium.envs.classic_control:CartPoleEnv", max_episode_steps=20)
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with a module that leaves a file when it is imported; Python looks there first."""
    (tmp_path / "own_envs.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    spaces.cache_clear()
    yield tmp_path
    spaces.cache_clear()
    sys.modules.pop("own_envs", None)
    gym.registry.pop("Own-v0", None)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, discrete_file: Path) -> Path:
    return train_run(tmp_path_factory.mktemp("trained") / "run", *on_file(discrete_file))


@pytest.fixture
def run(trained: Path, here: Path) -> Path:
    """A run whose saved configuration has been altered, as one from elsewhere may be."""
    path = Path(shutil.copytree(trained, here / "run"))
    cfg = OmegaConf.load(path / ".hydra" / "config.yaml")
    cfg.dataset.env = OWN
    OmegaConf.save(cfg, path / ".hydra" / "config.yaml")
    manifest = read_json(path / "manifest.json")
    manifest["config"]["dataset.env"] = OWN
    write_json(path / "manifest.json", manifest)
    return path


def bcq(entry: str, here: Path, *arguments: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", f"bcq_exp.{entry}", *arguments]
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, cwd=here, capture_output=True, text=True, timeout=300, env=env)


@pytest.mark.parametrize(
    ("entry", "arguments"),
    [("evaluate", ["run=run", "episodes=1", "num_threads=1"]), ("train", ["resume=run"])],
    ids=["evaluate", "resume"],
)
def test_a_saved_run_imports_nothing_until_the_module_is_named(run: Path, here: Path, entry: str, arguments: list[str]):
    word = "allow_modules=[own_envs]"
    refused = bcq(entry, here, *arguments, "allow_modules=[own,own_envs.sub,envs]")
    assert (refused.returncode, (here / "executed").exists()) == (1, False)
    assert "Traceback" not in refused.stderr
    assert f"add '{word}'" in refused.stderr
    allowed = bcq(entry, here, *arguments, word)
    assert allowed.returncode == 0, allowed.stderr
    assert (here / "executed").exists()


def test_a_module_that_is_typed_is_imported(here: Path, discrete_file: Path):
    assert checked(*on_file(discrete_file, OWN)).dataset.env == OWN
    assert (here / "executed").exists()


def test_the_library_refuses_and_allows_alike(run: Path, here: Path):
    for read in (lambda: saved_config(run), lambda: trained_runs(run, "cpu")):
        with pytest.raises(ValueError, match=r"own_envs, which runs its code; .*'allow_modules=\[own_envs\]'"):
            read()
    assert not (here / "executed").exists()
    (found,) = trained_runs(run, "cpu", allow_modules=["own_envs"])
    assert found.cfg.dataset.env == OWN


def test_a_saved_permission_is_none(run: Path, here: Path):
    saved = run / ".hydra" / "config.yaml"
    saved.write_text(saved.read_text().replace("allow_modules: []", "allow_modules: [own_envs]"))
    assert "own_envs]" in saved.read_text()
    with pytest.raises(ValueError, match="allow_modules"):
        saved_config(run)
    assert saved_config(run, allow_modules=["own_envs"]).allow_modules == []


def test_the_members_of_a_group_are_what_was_typed_and_no_others(run: Path, here: Path):
    group = Group(here, ["run"], num_threads=1, device="cpu")
    (job,) = read_jobs(group)
    assert job.cfg.dataset.env == OWN
    (here / "executed").unlink()
    sys.modules.pop("own_envs")
    saved = run / ".hydra" / "config.yaml"
    saved.write_text(saved.read_text().replace("seed: 0", "seed: 1"))
    with pytest.raises(ValueError, match="seed: 0 before, 1 now"):
        read_jobs(group)
    assert not (here / "executed").exists()


def minari_folder(folder: Path, **metadata: Any) -> Path:
    """A dataset of two steps as Minari writes it, with other metadata."""
    minari = pytest.importorskip("minari")
    from minari.data_collector import EpisodeBuffer

    space = gym.spaces.Box(-1, 1, (4,))
    buffer = EpisodeBuffer(
        id=0, observations=np.zeros((3, 4), np.float32), actions=np.zeros(2, np.int64), rewards=np.ones(2),
        terminations=np.array([False, True]), truncations=np.zeros(2, bool),
    )  # fmt: skip
    minari.create_dataset_from_buffers(
        "tests/canary-v0", [buffer], observation_space=space, action_space=gym.spaces.Discrete(2)
    )
    path = folder / "tests" / "canary-v0" / "data" / "metadata.json"
    written = {**json.loads(path.read_text()), **metadata}
    path.write_text(json.dumps({key: value for key, value in written.items() if value is not None}))
    return path.parents[1]


WRAPPER = {"name": "Own", "entry_point": "own_envs:Own", "kwargs": {}}
SPECS = {
    "id": {"id": OWN, "additional_wrappers": []},
    "entry_point": {"id": "CartPole-v1", "entry_point": "own_envs:Own", "additional_wrappers": []},
    "vector": {"id": "CartPole-v1", "vector_entry_point": "own_envs:Own", "additional_wrappers": []},
    "wrapper": {"id": "CartPole-v1", "additional_wrappers": [WRAPPER]},
    "arguments": {"id": "CartPole-v1", "kwargs": {"env": OWN}, "additional_wrappers": []},
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
def test_a_dataset_of_minari_imports_nothing(here: Path, monkeypatch: pytest.MonkeyPatch, spec: dict[str, Any]):
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(here))
    folder = minari_folder(here, env_spec=json.dumps(spec), eval_env_spec=json.dumps(spec))
    assert len(read_minari(folder)) == 2
    typed = ("dataset=minari", f"dataset.path={folder}")
    if spec["id"] == OWN:
        with pytest.raises(ValueError, match=rf"own_envs, which runs its code; if you trust it, give .*env={OWN}"):
            checked(*typed)
    else:
        assert checked(*typed).dataset.env == "CartPole-v1"
    path = folder / "data" / "metadata.json"
    metadata = json.loads(path.read_text())
    for lacking in ("observation_space", "action_space"):  # Minari would ask the environment for it
        path.write_text(json.dumps({key: value for key, value in metadata.items() if key != lacking}))
        with pytest.raises(ValueError, match=rf"metadata\.json: {lacking} is missing"):
            read_minari(folder)
    assert not (here / "executed").exists()
    assert checked(*typed, f"dataset.env={OWN}").dataset.env == OWN
    assert (here / "executed").exists()


def test_a_shipped_agents_description_imports_nothing(here: Path):
    for suffix in (".json", ".safetensors"):
        shutil.copy(str(behaviour.SHIPPED / f"cartpole{suffix}"), here / f"agent{suffix}")
    account = json.loads((here / "agent.json").read_text())
    (here / "agent.json").write_text(json.dumps(account | {"env": OWN, "algorithm": "own_envs:Own"}))
    check(composed(f"dataset.behaviour={here}/agent"))
    assert not (here / "executed").exists()
