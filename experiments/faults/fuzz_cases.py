"""Cases of `fuzz`: damaged configurations, datasets and checkpoints. A seed and a number decide a case.

Files hold canaries: a module that leaves a file when it is imported, pickles and YAML tags that leave one when they are
loaded, and references to an environment variable whose value must never be read.
"""

import gzip
import io
import json
import pickle
import shutil
import struct
import zipfile
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

import gymnasium as gym
import h5py
import numpy as np
import torch
import yaml
from hydra import compose, initialize_config_dir
from numpy.typing import NDArray
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from bcq_exp.algorithms import REGISTRY
from bcq_exp.analysis.trained_runs import load_policy, trained_runs
from bcq_exp.data import Transitions, check_against, read_transitions, write_h5
from bcq_exp.io.checkpoint import load_checkpoint
from bcq_exp.io.files import read_json
from bcq_exp.io.source import CONF_DIR
from bcq_exp.selection.request import checked_request
from bcq_exp.sweeps.executors import EXECUTORS
from bcq_exp.sweeps.group import Group
from bcq_exp.sweeps.launch import Launch
from bcq_exp.training import experiment
from bcq_exp.training.config import RunConfig, check, checked_training
from bcq_exp.training.datasets import checked_dataset
from bcq_exp.training.job import Job
from bcq_exp.training.saved import allowed_modules, saved_config, saved_overrides
from bcq_exp.training.sections import plain

Array = NDArray[Any]
Rng = np.random.Generator

MODULE, VARIABLE, TOUCHED = "canary_envs", "FUZZ_CANARY", "executed"
ENV = f"{MODULE}:Canary-v0"
TAG = f"!!python/object/apply:{MODULE}.run []"
READS = f"${{oc.env:{VARIABLE}}}"
MAX_WIDTH = 300  # of the networks that are built of what was accepted


class Bomb:
    """Leaves a file when it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (Path(TOUCHED),)


def pick(rng: Rng, items: Sequence[Any]) -> Any:
    """Draw one of the options."""
    return items[int(rng.integers(len(items)))]


# ---- values


WORDS = [
    "", " ", "???", "null", "none", "cpu", "cuda", "cuda:0", "meta", "hpu", "cpu:7", "mps", "warp", "auto", "always",
    "CartPole-v1", "Pendulum-v1", "..x:X-v0", "absent_envs:X-v0", "a:b:c", "X-v" + "9" * 5000, "../../up", "/any/dir",
    "a/b", ".hidden", "a\0b", "a\nb", "é☃", "x" * 300, "fqe", "relu", "bcq", "mlp", "h5", "minari", "d4rl", "collected",
    "replay", "atari_replay", "adam", "linear", "cosine", "1e-3", "nan", "-inf", "0x10", "1_000", "true", "~", "{", "[",
    "_target_", "os.system", "Pong", "hopper-medium-v2", "D4RL/pen/human-v2", "none", "episode_epsilon", "tanh", "clip",
]  # fmt: skip
NUMBERS = [
    0, 1, -1, 2, 3, 7, 64, 10**6, 2**31, 2**63, 2**64, 10**30, -(10**30), 0.0, -0.0, 0.5, 1.0, 1.5, 1e-300, 1e308,
    float("nan"), float("inf"), float("-inf"), 1e-3, 0.99,
]  # fmt: skip


def value(rng: Rng, depth: int = 0) -> Any:
    """Draw a value of any type."""
    choice = rng.random()
    if choice < 0.08:
        return None
    if choice < 0.15:
        return bool(rng.integers(2))
    if choice < 0.45:
        return pick(rng, NUMBERS)
    if choice < 0.75 or depth > 2:
        return pick(rng, WORDS)
    if choice < 0.77:
        nested: Any = 0
        for _ in range(int(rng.integers(2, 300))):
            nested = [nested]
        return nested
    if choice < 0.9:
        return [value(rng, depth + 1) for _ in range(rng.integers(4))]
    keys = ["a", "name", "_target_", "low", 1, "seed", "api_key", "", "x.y"]
    return {pick(rng, keys): value(rng, depth + 1) for _ in range(rng.integers(4))}


def places(tree: Any) -> list[tuple[Any, Any]]:
    """List every container of a tree with each of its keys."""
    if isinstance(tree, dict):
        items: Any = list(tree.items())
    elif isinstance(tree, list):
        items = list(enumerate(tree))
    else:
        return []
    return [place for key, part in items for place in [(tree, key), *places(part)]]


def changed(tree: Any, rng: Rng, values: Callable[[Rng], Any]) -> Any:
    """Copy plain values and change, remove or add some."""
    copy = json.loads(json.dumps(tree))
    for _ in range(pick(rng, [1, 1, 1, 2, 4])):
        found = places(copy)
        if not found:
            break
        container, key = pick(rng, found)
        action = rng.random()
        if action < 0.1:
            del container[key]
        elif action < 0.2 and isinstance(container, dict):
            container[pick(rng, ["_target_", "own", "name", "seed", "x" * 50, "é"])] = values(rng)
        else:
            container[key] = near(container[key], rng) if rng.random() < 0.5 else values(rng)
    return copy


def near(old: Any, rng: Rng) -> Any:
    """Draw a value that may well be allowed in place of another."""
    if isinstance(old, bool):
        return not old
    if isinstance(old, int | float):
        return pick(rng, [old * 2, old * 0.5, old + 1, -old, round(old) if abs(old) < 1e9 else 0, float(old)])
    if isinstance(old, list):
        return pick(rng, [old + old, old[:-1], old[::-1], [near(part, rng) for part in old]])
    return pick(rng, [None, old, 1, 0.5, "x", True])


def damaged(data: bytes, rng: Rng) -> bytes:
    """Damage bytes: flip, cut, insert, double, or overwrite with zeros or large numbers."""
    content = bytearray(data)
    for _ in range(int(rng.integers(1, 6))):
        at, length = int(rng.integers(len(content) + 1)), int(rng.integers(1, 1 + min(64, len(content) + 1)))
        action = rng.integers(7)
        if action == 0 and at < len(content):
            content[at] ^= 1 << int(rng.integers(8))
        elif action == 1:
            del content[at:]
        elif action == 2:
            content[at:at] = rng.integers(256, size=length, dtype=np.uint8).tobytes()
        elif action == 3:
            del content[at : at + length]
        elif action == 4:
            content[at : at + length] = bytes(length)
        elif action == 5:
            content[at : at + 8] = struct.pack("<Q", pick(rng, [2**63, 2**40, 2**32 - 1, 2**31, 0xFFFFFFFFFFFFFFFF]))
        else:
            content[at:at] = content[at : at + length]
    return bytes(content)


# ---- configurations


@cache
def composed(config: str, *overrides: str) -> dict[str, Any]:
    """Compose a configuration of the package, as plain values with interpolations unresolved."""
    with initialize_config_dir(CONF_DIR, version_base="1.3"):
        found: Any = OmegaConf.to_container(compose(config, overrides=list(overrides)))
    assert isinstance(found, dict)
    return found


@cache
def choice(group: str, name: str) -> Any:
    """Draw one file of a config group."""
    return OmegaConf.to_container(OmegaConf.load(Path(CONF_DIR) / group / f"{name}.yaml"))


NETWORKS = sorted({path.stem for path in (Path(CONF_DIR) / "network").iterdir()} - {"nature_cnn"})
DISCRETE = ("cartpole-noisy", "h5", "lunarlander-noisy", "atari-replay", "minari")
CONTINUOUS = ("pendulum-noisy", "pendulum-final-buffer", "d4rl", "pendulum-concurrent")


def run_values(rng: Rng) -> dict[str, Any]:
    """Draw a valid configuration of any algorithm."""
    algorithm = pick(rng, sorted(REGISTRY))
    dataset = pick(rng, DISCRETE if REGISTRY[algorithm].is_discrete else CONTINUOUS)
    base = json.loads(json.dumps(composed("config", f"dataset={dataset}")))
    base["algorithm"] = choice("algorithm", algorithm)
    base["optimizer"] = choice("optimizer", pick(rng, sorted(p.stem for p in (Path(CONF_DIR) / "optimizer").iterdir())))
    base["network"] = choice("network", "nature_cnn" if dataset == "atari-replay" else pick(rng, NETWORKS))
    given = {"h5": {"path": "x.h5", "env": "CartPole-v1"}, "d4rl": {"id": "hopper-medium-v2"},
             "minari": {"path": "minari"}, "atari-replay": {"path": "x", "game": "Pong"}}  # fmt: skip
    base["dataset"] |= given.get(dataset, {})
    return json.loads(json.dumps(base))  # type: ignore[no-any-return]


def as_config(values: dict[str, Any]) -> Any:
    """Make a DictConfig, as Hydra does; None where OmegaConf itself refuses the values."""
    try:
        return OmegaConf.create(values)
    except (OmegaConfBaseException, RecursionError):
        return None


def build(cfg: RunConfig) -> None:
    """Build the policy of an accepted configuration, where it is small."""
    sizes = [*cfg.network.hidden_sizes, *getattr(cfg.network, "vae_hidden_sizes", [])]
    if max(sizes, default=0) <= MAX_WIDTH and len(sizes) < 10 and cfg.schedule.device == "cpu":
        counts = [number for number in vars(cfg.algorithm).values() if isinstance(number, int)]
        if max(counts, default=0) <= MAX_WIDTH:
            experiment.blank_policy(cfg, torch.device("cpu"))


def typed_run(rng: Rng, folder: Path) -> None:
    """Check a typed run; save, read back and build it where it is accepted."""
    cfg = as_config(changed(run_values(rng), rng, value))
    if cfg is None:
        raise ValueError("refused by OmegaConf")
    found = check(cfg)
    (folder / ".hydra").mkdir()
    OmegaConf.save(OmegaConf.create(plain(cfg)), folder / ".hydra" / "config.yaml")
    if check(saved_config(folder, allow_modules=allowed_modules(cfg))).algorithm != found.algorithm:
        raise AssertionError("a saved configuration is another than the one that was typed")
    build(found)


def typed_other(rng: Rng, folder: Path) -> None:
    """Check configurations of the other entry points, and the launcher's keys."""
    match int(rng.integers(4)):
        case 0:
            cfg, use = as_config(changed(composed("evaluate"), rng, value)), checked_request
        case 1:
            behaviour = pick(rng, sorted(path.stem for path in (Path(CONF_DIR) / "behaviour").iterdir()))
            base = {**composed("collect"), "behaviour": choice("behaviour", behaviour)}
            cfg, use = as_config(changed(base, rng, value)), checked_training
        case 2:
            cfg, use = as_config(changed(run_values(rng), rng, value)), checked_dataset
        case _:
            keys = {"executor": pick(rng, list(EXECUTORS)), "max_members": None, "num_processes": None, "options": {}}
            Launch(**keys | {pick(rng, sorted(keys)): value(rng) for _ in range(rng.integers(1, 3))})
            return
    if cfg is None:
        raise ValueError("refused by OmegaConf")
    use(cfg)


def canary_value(rng: Rng) -> Any:
    """Draw a value that would have something executed or read, if a file were trusted."""
    if rng.random() < 0.6:
        return value(rng)
    return pick(rng, [
        ENV, READS, f"x{READS}", f"${{oc.decode:{READS}}}", "${seed}", "${dataset.name}${dataset.name}", "${own",
        f"{MODULE}.run", MODULE, [MODULE], {"_target_": f"{MODULE}.run"}, {"env": ENV}, "${hydra:runtime.cwd}",
        f"${{minari_name:{READS},x}}", "${sweep_hash:x}", "${config_hash:}",
    ])  # fmt: skip


TOKENS = [
    TAG, "!!binary aGk=", "&a [*a]", "*a", "<<: *a", "? ", "- ", "{" * 300, "[" * 2000, ": ", "\t", "---\n", "\n", "''",
    f"env: {ENV}\n", f"  env: {ENV}\n", READS, "9" * 5000, "\x00", "!!python/name:os.system", "!own", "%YAML 3.0\n",
]  # fmt: skip


def saved_run(rng: Rng, folder: Path) -> None:
    """Read a run directory's saved configuration, with values changed and text damaged."""
    (folder / ".hydra").mkdir()
    values = changed(run_values(rng), rng, canary_value)
    text = yaml.safe_dump(values, allow_unicode=True, sort_keys=False)
    for _ in range(int(rng.integers(3))):
        at = int(rng.integers(len(text)))
        text = text[:at] + pick(rng, TOKENS) + text[at:]
    data = text.encode()
    if rng.random() < 0.3:
        data = damaged(data, rng)
    (folder / ".hydra" / "config.yaml").write_bytes(data)
    overrides = yaml.safe_dump([canary_value(rng) for _ in range(rng.integers(3))], allow_unicode=True).encode()
    (folder / ".hydra" / "overrides.yaml").write_bytes(damaged(overrides, rng) if rng.random() < 0.3 else overrides)
    shown: list[Any] = []
    try:
        shown.append(saved_overrides(folder))
    except ValueError as error:
        shown.append(error)
    cfg = saved_config(folder)
    shown.append(cfg)
    if "SECRET" in str(shown):  # the variable's value
        raise AssertionError("the environment was read")
    check(cfg)


# ---- datasets


def columns(rng: Rng, *, is_discrete: bool) -> dict[str, Array]:
    """Draw episodes of 10 rows like CartPole's or Pendulum's, named as in D4RL."""
    num, width = int(rng.integers(20, 60)), 4 if is_discrete else 3
    ends = np.arange(num) % 10 == 9
    return {
        "observations": rng.normal(size=(num, width)).astype(np.float32),
        "actions": rng.integers(2, size=num) if is_discrete else rng.uniform(-2, 2, (num, 1)).astype(np.float32),
        "rewards": rng.normal(size=num).astype(np.float32),
        "terminals": ends & (np.arange(num) % 20 == 9),
        "timeouts": ends & (np.arange(num) % 20 == 19),
        "next_observations": rng.normal(size=(num, width)).astype(np.float32),
    }


DTYPES = ["f2", "f4", "f8", "i1", "i4", "i8", "u1", "u8", "?", "c8", "S5", "U5", "M8[s]", "m8[s]", "V3"]
OTHERS = ("timeouts", "episode_terminals", "discrete_action", "version", "columns")
FILLS = [np.nan, np.inf, -np.inf, 1e308, -1, 2, 0.5, 255, 2**62]


def changed_column(column: Array, rng: Rng) -> Array | None:
    """Change a column's type, shape or content; None leaves it out."""
    column = np.atleast_1d(column)
    if column.dtype.names or not column.size:
        return np.arange(12.0).reshape(4, 3)
    match int(rng.integers(9)):
        case 0:
            with np.errstate(all="ignore"):
                try:
                    return column.astype(pick(rng, DTYPES))
                except (ValueError, TypeError):
                    return np.zeros(column.shape, "S5")
        case 1:
            return column[: int(rng.integers(len(column) + 1))]
        case 2:
            return None
        case 3:
            filled = column.astype(np.float64) if column.dtype.kind in "fiub" else np.zeros(column.shape)
            filled.reshape(-1)[int(rng.integers(filled.size))] = pick(rng, FILLS)
            return filled
        case 4:
            return column.reshape(column.shape + (1,) * int(rng.integers(1, 4)))
        case 5:
            return np.asarray(column.reshape(-1)[0])
        case 6:
            return np.zeros([int(rng.integers(4)) for _ in range(rng.integers(5))], pick(rng, DTYPES))
        case 7:
            return np.concatenate([column, column])
        case _:
            return np.zeros(len(column), [("a", "f4"), ("b", "i4")])


def mixed(found: Mapping[str, Array], rng: Rng) -> dict[str, Array]:
    """Change some of the columns."""
    out = dict(found)
    for _ in range(int(rng.integers(3))):
        key = pick(rng, sorted(out) or ["own"])
        new = changed_column(np.asarray(out.get(key, np.zeros(3))), rng)
        if new is None:
            out.pop(key, None)
        else:
            out[
                pick(rng, [key, key, key, "timeouts", "episode_terminals", "discrete_action", "version", "columns"])
            ] = new
    return out


def h5_of(path: Path, found: Mapping[str, Any]) -> Path:
    """Write columns to an HDF5 file, except those that HDF5 cannot hold."""
    with h5py.File(path, "w") as file:
        for key, column in found.items():
            try:
                file[key] = column
            except (TypeError, ValueError):
                continue
    return path


def npz(rng: Rng, path: Path, found: Mapping[str, Array]) -> Path:
    """Write an archive, sometimes with a pickle in it."""
    whole: dict[str, Any] = dict(found)
    if rng.random() < 0.2:
        whole[pick(rng, [*found, "own"])] = np.array([Bomb(), 1], object)
    np.savez(path.with_suffix(".npz"), **whole)
    if rng.random() < 0.1:  # another suffix inside
        with zipfile.ZipFile(path.with_suffix(".npz"), "a") as archive:
            archive.writestr(pick(rng, ["rewards.pkl", "../up.npy", "rewards.npy", "x"]), pickle.dumps(Bomb()))
    return path.with_suffix(".npz")


def own_h5(rng: Rng, path: Path, found: Mapping[str, Array]) -> Path:
    """Write the project's layout."""
    ends = {"terminated": found["terminals"], "truncated": found["timeouts"]}
    whole = Transitions.from_columns(
        {"obs": found["observations"], "obs_next": found["next_observations"], "act": found["actions"],
         "rew": found["rewards"], **ends}, "fuzz",
    )  # fmt: skip
    write_h5(path, whole, ENV, {})
    with h5py.File(path, "a") as file:
        for _ in range(int(rng.integers(3))):
            key = pick(rng, list(file) or ["rew"])
            if key not in file:
                continue
            new = changed_column(np.asarray(file[key][()]), rng)
            del file[key]
            if new is not None and new.dtype.kind not in "UMmV":
                file[key] = new
        if rng.random() < 0.2:
            file.attrs[pick(rng, ["format", "version", "env", "manifest"])] = pick(rng, [1, "x", "[" * 3000, ENV])
    return path


def d3rlpy_1(rng: Rng, path: Path, found: Mapping[str, Array]) -> Path:
    """Write d3rlpy's first layout."""
    ends = found["terminals"] | found["timeouts"]
    keys = ("observations", "actions", "rewards", "terminals")
    is_discrete = found["actions"].dtype.kind in "iu"
    own = {"episode_terminals": ends, "discrete_action": np.asarray(is_discrete), "version": np.bytes_("1.0")}
    return h5_of(path, mixed({**{key: found[key] for key in keys}, **own}, rng))


def d3rlpy_2(rng: Rng, path: Path, found: Mapping[str, Array]) -> Path:
    """Write d3rlpy's second layout."""
    parts: dict[str, Any] = {"version": np.asarray("2.1", "S3"), "num_episodes": np.asarray(2)}
    parts["columns"] = np.array([b"observations", b"actions", b"rewards", b"terminated"])
    for number in range(2):
        rows = slice(10 * number, 10 * number + 10)
        for key in ("observations", "actions", "rewards"):
            column = found[key][rows]
            parts[f"{key}_{number}"] = column if column.ndim > 1 else column[:, None]
        parts[f"terminated_{number}"] = np.asarray(number == 0)
    return h5_of(path, mixed(parts, rng))


def d4rl(rng: Rng, path: Path, found: Mapping[str, Array]) -> Path:
    """Write D4RL's layout."""
    return h5_of(path, mixed(found, rng))


def atari(rng: Rng, path: Path, found: Mapping[str, Array]) -> Path:
    """Write a folder of DQN-replay checkpoints, sometimes with a pickle in it."""
    path.mkdir()
    num = 40
    store: dict[str, Array] = {
        "$store$_observation": rng.integers(256, size=(num, 84, 84), dtype=np.uint8),
        "$store$_action": rng.integers(4, size=num).astype(np.int32),
        "$store$_reward": rng.normal(size=num).astype(np.float32),
        "$store$_terminal": (np.arange(num) % 8 == 7).astype(np.uint8),
        "add_count": np.asarray(num),
    }
    for name, column in mixed(store, rng).items():
        content = io.BytesIO()
        np.save(content, np.array([Bomb()], object) if rng.random() < 0.05 else column)
        data = pickle.dumps(Bomb()) if rng.random() < 0.03 else content.getvalue()
        data = damaged(data, rng) if rng.random() < 0.2 else data
        (path / f"{name}_ckpt.0.gz").write_bytes(gzip.compress(data, 1))
    return path


SPECS = [
    {"id": ENV}, {"id": "CartPole-v1", "entry_point": f"{MODULE}:run", "additional_wrappers": []}, {"id": [1]}, [], 3,
    {"id": "CartPole-v1", "additional_wrappers": [{"name": "a", "entry_point": f"{MODULE}:run", "kwargs": {}}]},
    {"id": READS}, {"id": "Taxi-v3", "kwargs": [1]}, {"id": None}, {"id": "..x:X-v0"}, "x",
]  # fmt: skip
SPACES = [
    {"type": "Discrete", "n": 10**9, "start": 0}, {"type": "Discrete", "n": -1, "start": 0}, {"type": "Text"}, [], 3,
    {"type": "Box", "shape": [10**5, 10**5], "low": -1, "high": 1, "dtype": "float32"}, {"type": "x"},
    {"type": "Box", "shape": [3], "low": [0], "high": [1, 2], "dtype": "object"}, {"type": "Tuple", "subspaces": []},
    {"type": "Dict", "subspaces": {}},
]  # fmt: skip


def minari_metadata(rng: Rng, text: str) -> bytes:
    """Change the metadata of a Minari dataset."""
    metadata = json.loads(text)
    if rng.random() < 0.6:
        key = pick(rng, ["env_spec", "eval_env_spec"])
        metadata[key] = json.dumps(pick(rng, SPECS)) if rng.random() < 0.8 else canary_value(rng)
    if rng.random() < 0.4:
        key = pick(rng, ["observation_space", "action_space"])
        metadata[key] = json.dumps(pick(rng, SPACES)) if rng.random() < 0.7 else canary_value(rng)
        if rng.random() < 0.3:
            del metadata[key]
    if rng.random() < 0.3:
        metadata[pick(rng, [*metadata, "ref_min_score", "ref_max_score"])] = canary_value(rng)
    data = json.dumps(metadata, default=str).encode()
    return damaged(data, rng) if rng.random() < 0.2 else data


WRITERS: dict[str, Callable[[Rng, Path, Mapping[str, Array]], Path]] = {
    "npz": npz, "bcq_exp": own_h5, "d3rlpy v1": d3rlpy_1, "d3rlpy v2": d3rlpy_2, "d4rl": d4rl, "atari": atari,
}  # fmt: skip
CARTPOLE = gym.spaces.Box(-np.inf, np.inf, (4,)), gym.spaces.Discrete(2)
PENDULUM = gym.spaces.Box(-np.inf, np.inf, (3,)), gym.spaces.Box(-2, 2, (1,))


def dataset(rng: Rng, folder: Path) -> None:
    """Write a file of any format, read it and check it against an environment."""
    is_discrete, name = bool(rng.integers(2)), pick(rng, [*WRITERS, "minari"])
    if name == "minari":
        path = Path(shutil.copytree("minari", folder / "minari"))
        metadata = path / "data" / "metadata.json"
        metadata.write_bytes(minari_metadata(rng, metadata.read_text()))
        target = path / "data" / "main_data.hdf5"
        with h5py.File(target, "a") as file:
            key = pick(rng, [f"episode_0/{key}" for key in ("observations", "actions", "rewards", "terminations")])
            if rng.random() < 0.3 and key in file:
                new = changed_column(np.asarray(file[key][()]), rng)
                del file[key]
                if new is not None and new.dtype.kind not in "UMmV":
                    file[key] = new
        values = run_values(rng)
        values["dataset"] = {**composed("config", "dataset=minari")["dataset"], "path": str(path)}
        cfg = OmegaConf.create(values)
        try:
            checked_dataset(cfg)
        except ValueError as error:
            if "SECRET" in str(error):
                raise AssertionError("the environment was read") from None
    else:
        found = columns(rng, is_discrete=is_discrete)
        is_raw = name in ("npz", "d4rl")
        path = WRITERS[name](rng, folder / "data.h5", mixed(found, rng) if is_raw else found)
        target = path
    if target.is_file() and rng.random() < 0.5:
        target.write_bytes(damaged(target.read_bytes(), rng))
    observations, actions = CARTPOLE if is_discrete else PENDULUM
    check_against(read_transitions(path), observations, actions, batch_size=8)


# ---- checkpoints


def trained(folder: Path) -> Path:
    """Train the run of 20 updates that cases damage."""
    columns_ = columns(np.random.default_rng(0), is_discrete=True)
    np.savez(folder / "trained.npz", **columns_)
    typed = ("dataset=h5", f"dataset.path={folder / 'trained.npz'}", "dataset.env=CartPole-v1", "num_updates=20",
             "eval_freq=20", "eval_episodes=1", "log_freq=10", "checkpoint_freq=20", "batch_size=8", "num_threads=1",
             "network.hidden_sizes=[8]", "compile=never")  # fmt: skip
    cfg: Any = OmegaConf.create(composed("config", *typed))
    run_dir = folder / "trained"
    experiment.build([Job(check(cfg), run_dir, plain(cfg), typed)]).run()
    group = Group(folder, ["trained"], num_threads=1, device="cpu")
    group.write()
    (run_dir / "groups").mkdir()
    shutil.move(group.path, run_dir / "groups" / "group.json")
    return run_dir


def tampered(target: Path, rng: Rng) -> None:
    """Damage a file: its bytes or, of a JSON file, its values."""
    if target.suffix != ".json" or rng.random() < 0.4:
        target.write_bytes(damaged(target.read_bytes(), rng))
        return
    text = json.dumps(changed(json.loads(target.read_text()), rng, canary_value))
    if rng.random() < 0.1:
        text = text.replace(":", ":" + "[" * int(rng.integers(1, 5000)), 1)
    target.write_text(text)


def with_sums(state: Path) -> None:
    """Renew a checkpoint's checksums, so that its damaged content is read."""
    try:
        content = json.loads(state.read_text())
        content["state_sha256"] = sha256(json.dumps(content["state"]).encode()).hexdigest()
        content["tensors_sha256"] = sha256(state.with_name("tensors.safetensors").read_bytes()).hexdigest()
    except (ValueError, KeyError, TypeError, RecursionError):
        return
    state.write_text(json.dumps(content))


def checkpoint(rng: Rng, folder: Path) -> None:
    """Read a run whose checkpoint is damaged, sometimes with correct checksums."""
    path = Path(shutil.copytree("trained", folder / "run"))
    (state,) = path.glob("checkpoints/*/state.json")
    tampered(pick(rng, [state, state, state.with_name("tensors.safetensors")]), rng)
    if rng.random() < 0.7:
        with_sums(state)
    load_checkpoint(state.parent)
    for run in trained_runs(path, "cpu"):
        load_policy(run)


def record(rng: Rng, folder: Path) -> None:
    """Read a run whose summary, manifest, metrics or group is damaged."""
    path = Path(shutil.copytree("trained", folder / "run"))
    target = path / pick(rng, ["summary.json", "manifest.json", "metrics.csv", "groups/group.json"])
    tampered(target, rng)
    if target.name == "group.json":
        Group.read(target)
    elif target.name == "manifest.json":
        read_json(target)
    else:
        trained_runs(path, "cpu")


KINDS: dict[str, list[Callable[[Rng, Path], None]]] = {
    "configurations": [typed_run, typed_run, typed_other, saved_run, saved_run],
    "datasets": [dataset],
    "checkpoints": [checkpoint],
    "records": [record],
}


def prepare(folder: Path, kinds: Sequence[str]) -> None:
    """Write the files that cases start from into the folder that they run in."""
    canary = f"import pathlib\npathlib.Path({str(folder / TOUCHED)!r}).touch()\ndef run(*a, **k): pass\n"
    (folder / f"{MODULE}.py").write_text(canary)
    if {"checkpoints", "records"} & {*kinds}:
        trained(folder)
    if "datasets" in kinds or "configurations" in kinds:
        import minari
        from minari.data_collector import EpisodeBuffer

        rng = np.random.default_rng(0)
        buffers = [
            EpisodeBuffer(
                id=number, observations=rng.normal(size=(13, 4)).astype(np.float32), actions=rng.integers(2, size=12),
                rewards=rng.normal(size=12), terminations=np.arange(12) == 11, truncations=np.zeros(12, bool),
            )
            for number in range(2)
        ]  # fmt: skip
        space = gym.spaces.Box(-9, 9, (4,))
        minari.create_dataset_from_buffers("f-v0", buffers, env="CartPole-v1", observation_space=space,
                                           action_space=gym.spaces.Discrete(2))  # fmt: skip
        shutil.move(folder / "f-v0", folder / "minari")


def run_case(kind: str, number: int, seed: int, folder: Path) -> None:
    """Run one case in an empty folder; raise the error of the code that it tries."""
    rng = np.random.default_rng([seed, sorted(KINDS).index(kind), number])
    steps = KINDS[kind]
    steps[number % len(steps)](rng, folder)
