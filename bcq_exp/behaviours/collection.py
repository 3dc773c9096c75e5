"""The embedded datasets: collected from a behaviour agent on first use, then read from a cache.

A long recording is made in legs, each with random streams and a file of its own. Finished legs survive the end of the
process; the same command resumes with the next leg.
"""

import hashlib
import json
import logging
import math
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import gymnasium as gym
import numpy as np
from filelock import FileLock
from rich.console import Console
from rich.progress import track

from bcq_exp.behaviours.agents import Behaviour, Noise, make_noise
from bcq_exp.data.formats.h5 import read_h5, write_h5
from bcq_exp.data.schema import DatasetConfig, raised
from bcq_exp.data.transitions import REQUIRED, Transitions, episode_sums
from bcq_exp.envs.environments import make_env, packages
from bcq_exp.envs.observations import MASK
from bcq_exp.fields import within
from bcq_exp.io.files import FULL, cache_folder, clear_partials, read_json, sha256, write_json
from bcq_exp.io.masking import masked_words
from bcq_exp.io.source import source_digest

VERSION = 1  # part of the cache's key; raised with every change of the output of `collect`
LEG = 100_000  # transitions of a leg; a change of it changes the output, too

log = logging.getLogger(__name__)


@dataclass(kw_only=True)
class CachedDatasetConfig(DatasetConfig):
    """A dataset that is made on first use, as `cached` does."""

    env: str  # where it is recorded
    num_transitions: int = within(1)

    def account(self, transitions: Transitions) -> dict[str, Any]:
        """The JSON file that `keep` writes."""
        return read_json(Path(transitions.source).with_suffix(".json"))


@dataclass(kw_only=True)
class CollectedDatasetConfig(CachedDatasetConfig):
    """A dataset that a behaviour agent collects; keys are the arguments of `embedded_dataset`."""

    file_keys: ClassVar[tuple[str, ...]] = ("behaviour",)

    behaviour: str
    seed: int = within(0)
    noise: dict[str, Any]

    def read(self, *, allow_code_change: bool = False) -> Transitions:
        """See `embedded_dataset`."""
        return embedded_dataset(
            name=self.name,
            env=self.env,
            behaviour=self.behaviour,
            noise=self.noise,
            num_transitions=self.num_transitions,
            seed=self.seed,
            allow_code_change=allow_code_change,
        )

    def errors(self) -> list[str]:
        """See `DatasetConfig.errors`; an unknown agent and a wrong noise are errors, too."""
        agent = raised(lambda: Behaviour.load(self.behaviour))
        return super().errors() + agent + raised(lambda: make_noise(**self.noise))


def collect(
    behaviour: Behaviour, noise: Noise, env_id: str, num_transitions: int, seed: np.random.SeedSequence
) -> Transitions:
    """Record a noisy agent in one environment, episode after episode.

    The last episode, if `num_transitions` cuts it short, is marked as truncated, and its return is left out of
    `episode_returns`. Resets and noise have random streams of their own.

    Args:
        behaviour: trained in `env_id`.
        noise: see `Noise`.
        env_id: see `make_env`.
        num_transitions: N, at least the length of the first episode.
        seed: of both streams.

    Raises:
        ValueError: agent, noise and environment do not belong together, or no episode ends in `num_transitions`.
    """
    if behaviour.env != env_id:
        raise ValueError(f"behaviour={behaviour.name} was trained in {behaviour.env}; allowed: env={behaviour.env}")
    reset_stream, noise_stream = seed.spawn(2)
    rng = np.random.default_rng(noise_stream)
    env = make_env(env_id)
    obs, info = env.reset(seed=int(reset_stream.generate_state(1)[0]))
    if MASK in info:
        log.warning("%s gives masks of available actions: they are not recorded, and any action is taken", env_id)
    perturb = noise.begin(env.action_space, rng)
    columns = _empty(env, num_transitions)
    steps = range(num_transitions)
    for i in track(steps, "collecting", console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()):
        act = perturb(behaviour.act(obs[None])[0])
        obs_next, rew, terminated, truncated, _ = env.step(act)
        for key, value in zip(REQUIRED, (obs, act, rew, terminated, truncated, obs_next), strict=True):
            columns[key][i] = value
        obs = obs_next
        if terminated or truncated:
            obs, _ = env.reset()
            perturb = noise.begin(env.action_space, rng)
    env.close()

    num_episodes = int((columns["terminated"] | columns["truncated"]).sum())
    if num_episodes == 0:
        raise ValueError(
            f"num_transitions={num_transitions} ends before the first episode in {env_id}; collect more,"
            " or give the environment a time limit (gymnasium.register, max_episode_steps)"
        )
    columns["truncated"][-1] |= not columns["terminated"][-1]
    returns = episode_sums(columns["rew"], columns["terminated"] | columns["truncated"])[:num_episodes]
    return Transitions.from_columns({**columns, "episode_returns": returns}, f"{behaviour.name} in {env_id}")


def _empty(env: gym.Env[Any, Any], num_rows: int) -> dict[str, Any]:
    """Empty columns for a recording; rewards are float64, so that returns are summed before rounding."""
    obs, act = env.observation_space, env.action_space
    types: dict[str, Any] = {"obs": obs.dtype, "obs_next": obs.dtype, "act": act.dtype, "rew": np.float64}
    shapes = {"obs": obs.shape, "obs_next": obs.shape, "act": act.shape}
    return {key: np.empty((num_rows, *(shapes.get(key) or ())), types.get(key, np.bool_)) for key in REQUIRED}


def embedded_dataset(
    *,
    name: str,
    env: str,
    behaviour: str,
    noise: Mapping[str, Any],
    num_transitions: int,
    seed: int,
    allow_code_change: bool,
) -> Transitions:
    """Read the dataset from the cache; it is collected first where it is missing or damaged.

    Args:
        name: of the dataset.
        env: see `make_env`.
        behaviour: name of a shipped agent, or the path, without an ending, of one that was trained here.
        noise: arguments of `make_noise`.
        num_transitions: see `collect`; made in legs of `LEG` or more, each of which begins anew.
        seed: at least 0.
        allow_code_change: whether a collection that other code began may go on.

    Raises:
        ValueError: as `Behaviour.load`, `make_noise` and `collect`, other code began the collection, or the cache is
            not writable.
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
        **packages(env),
    }

    def make(path: Path) -> Transitions:
        log.info("collecting %d transitions of %s into %s", num_transitions, name, path)
        sizes = [LEG] * (num_transitions // LEG) or [0]
        sizes[-1] += num_transitions - sum(sizes)
        legs = [path.with_name(f"{path.stem}.leg{number}.h5") for number in range(len(sizes))]
        for number, (leg, size) in enumerate(zip(legs, sizes, strict=True)):
            if is_intact(leg, {**origin, "leg": number}):
                if not allow_code_change:
                    check_code(leg)
                continue
            stream = np.random.SeedSequence([seed, number] if number else seed)
            keep(leg, collect(agent, rule, env, size, stream), env, {**origin, "leg": number})
        return joined([read_h5(leg) for leg in legs])

    return cached(name, origin, make)


def cached(name: str, origin: Mapping[str, Any], make: Callable[[Path], Transitions]) -> Transitions:
    """Read a dataset from the cache; it is made first where it is missing or damaged.

    The file's name holds a hash of `origin`; the hash of the file itself is in a JSON file beside it. Of several
    processes one makes the dataset, and the others wait.

    Args:
        name: of the dataset.
        origin: everything that decides the content, as JSON can hold it; `env` is one of its keys.
        make: makes the transitions. It gets the file's path, beside which it may keep legs, `STEM.leg*`: they are
            removed in the end.

    Raises:
        ValueError: as `make`, or the cache is not writable.
    """
    key = hashlib.sha256(json.dumps(origin, sort_keys=True).encode()).hexdigest()[:12]
    path = cache_folder() / f"{name}-{key}.h5"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if not is_intact(path, origin):
            if path.exists() and path.with_suffix(".json").exists():
                log.warning("%s is not as it was written; it is collected anew", path)
            with FileLock(path.with_suffix(".lock")):
                clear_partials(path.parent, path.stem)
                if not is_intact(path, origin):
                    keep(path, make(path), str(origin["env"]), origin)
                    for part in path.parent.glob(f"{path.stem}.leg*"):
                        part.unlink()
        return read_h5(path)
    except OSError as error:
        if error.errno in FULL:
            raise
        raise ValueError(f"cache file {path}: {error}; set BCQ_EXP_CACHE to a folder that can be written") from None


def check_code(leg: Path) -> None:
    """Raise ValueError where a leg of a collection was made by other code than this."""
    begun = read_json(leg.with_suffix(".json"))["source_sha256"]
    if begun != source_digest():
        raise ValueError(
            f"{leg}: the code has changed since this collection began, {str(begun)[:12]} before,"
            f" {source_digest()[:12]} now; allow_code_change=true goes on all the same, removing this file begins anew"
        )


def keep(path: Path, transitions: Transitions, env: str, origin: Mapping[str, Any]) -> None:
    """Write transitions with an account of how they came about, in the file itself and in a JSON file beside it."""
    returns = transitions.episode_returns
    account = {
        **origin,
        "command": shlex.join([Path(sys.orig_argv[0]).name, *masked_words(sys.orig_argv[1:])]),
        "source_sha256": source_digest(),
        "num_episodes": len(returns),
        "return_mean": returns.mean(),
        "return_std_error": returns.std() / math.sqrt(len(returns)),
    }
    write_h5(path, transitions, env, account)
    write_json(path.with_suffix(".json"), {"sha256": sha256(path), **account})


def is_intact(path: Path, origin: Mapping[str, Any]) -> bool:
    """Whether the file exists, is undamaged and is of this origin."""
    beside = path.with_suffix(".json")
    if not (path.exists() and beside.exists()):
        return False
    try:
        account = read_json(beside)
    except ValueError:
        return False
    return {key: account.get(key) for key in ("sha256", *origin)} == {"sha256": sha256(path), **origin}


def joined(parts: Sequence[Transitions]) -> Transitions:
    """Concatenate recordings of equal shapes."""
    keys = (*REQUIRED, "episode_returns")
    columns: dict[str, Any] = {key: np.concatenate([getattr(part, key) for part in parts]) for key in keys}
    return Transitions(**columns, source=parts[0].source)
