"""The embedded datasets: collected from a shipped behaviour agent on first use, then read from a cache."""

import hashlib
import json
import logging
import os
import sys
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import track

from bcq_exp.data.behaviour import Behaviour, Noise, make_noise
from bcq_exp.data.h5 import read_h5, write_h5
from bcq_exp.data.transitions import Transitions, episode_sums
from bcq_exp.envs import make_env
from bcq_exp.files import sha256, write_bytes

VERSION = 1  # of what `collect` does: raised with every change of its output, since the cache is keyed by it

log = logging.getLogger(__name__)


def collect(behaviour: Behaviour, noise: Noise, env_id: str, num_transitions: int, seed: int) -> Transitions:
    """Records a noisy agent in one environment, episode after episode.

    The last episode, if `num_transitions` cuts it short, is marked as truncated, and its return is left out of
    `episode_returns`. Resets and noise have random streams of their own.

    Args:
        behaviour: trained in `env_id`.
        noise: see `Noise`.
        env_id: see `make_env`.
        num_transitions: N, at least the length of the first episode.
        seed: at least 0.

    Raises:
        ValueError: agent, noise and environment do not belong together, or no episode ends in `num_transitions`.
    """
    if behaviour.env != env_id:
        raise ValueError(f"behaviour={behaviour.name} was trained in {behaviour.env}; allowed: env={behaviour.env}")
    reset_stream, noise_stream = np.random.SeedSequence(seed).spawn(2)
    rng = np.random.default_rng(noise_stream)
    env = make_env(env_id)
    obs, _ = env.reset(seed=int(reset_stream.generate_state(1)[0]))
    perturb = noise.begin(env.action_space, rng)
    rows = []
    steps = range(num_transitions)
    for _ in track(steps, "collecting", console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()):
        act = perturb(behaviour.act(obs[None])[0])
        obs_next, rew, terminated, truncated, _ = env.step(act)
        rows.append((obs, act, rew, terminated, truncated, obs_next))
        obs = obs_next
        if terminated or truncated:
            obs, _ = env.reset()
            perturb = noise.begin(env.action_space, rng)
    env.close()

    keys = ("obs", "act", "rew", "terminated", "truncated", "obs_next")
    columns = {key: np.array(column) for key, column in zip(keys, zip(*rows, strict=True), strict=True)}
    num_episodes = int((columns["terminated"] | columns["truncated"]).sum())
    if num_episodes == 0:
        raise ValueError(f"num_transitions={num_transitions} ends before the first episode in {env_id}; collect more")
    columns["truncated"][-1] |= not columns["terminated"][-1]
    returns = episode_sums(columns["rew"], columns["terminated"] | columns["truncated"])[:num_episodes]
    return Transitions.from_columns({**columns, "episode_returns": returns}, f"{behaviour.name} in {env_id}")


def embedded_dataset(
    *, name: str, env: str, behaviour: str, noise: Mapping[str, Any], num_transitions: int, seed: int
) -> Transitions:
    """Reads the dataset from the cache; collects it first where it is not there, or not as it was written.

    The file's name holds a hash of all that decides its content; the file's own hash lies in a JSON file beside it.

    Args:
        name: of the dataset.
        env: see `make_env`.
        behaviour: name of a shipped agent.
        noise: arguments of `make_noise`.
        num_transitions: see `collect`.
        seed: see `collect`.

    Raises:
        ValueError: as `Behaviour.load`, `make_noise` and `collect`, or the cache is not writable.
    """
    agent, rule = Behaviour.load(behaviour), make_noise(**noise)
    origin = {
        "env": env,
        "behaviour": behaviour,
        "behaviour_sha256": agent.sha256,
        "noise": dict(noise),
        "num_transitions": num_transitions,
        "seed": seed,
        "collection_version": VERSION,
        "gymnasium_version": version("gymnasium"),
    }
    key = hashlib.sha256(json.dumps(origin, sort_keys=True).encode()).hexdigest()[:12]
    path = cache_folder() / f"{name}-{key}.h5"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if not is_intact(path, origin):
            log.info("collecting %d transitions of %s into %s", num_transitions, name, path)
            write_h5(path, collect(agent, rule, env, num_transitions, seed), env, origin)
            write_bytes(path.with_suffix(".json"), account(path, origin).encode())
        return read_h5(path)
    except OSError as error:
        raise ValueError(f"cache file {path}: {error}; set BCQ_EXP_CACHE to a folder that can be written") from None


def cache_folder() -> Path:
    """The folder of collected datasets: the environment variable BCQ_EXP_CACHE, else in the user's cache."""
    if folder := os.environ.get("BCQ_EXP_CACHE"):
        return Path(folder)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "bcq_exp" / "datasets"


def account(path: Path, origin: Mapping[str, Any]) -> str:
    """What lies beside an intact file: its sha256 and its origin, as JSON."""
    return json.dumps({"sha256": sha256(path), **origin}, indent=2) + "\n"


def is_intact(path: Path, origin: Mapping[str, Any]) -> bool:
    """Whether the file is there, as it was written and from this origin; a message says so if it is damaged."""
    beside = path.with_suffix(".json")
    if not (path.exists() and beside.exists()):
        return False
    if beside.read_text() != account(path, origin):
        log.warning("%s is not as it was written; it is collected anew", path)
        return False
    return True
