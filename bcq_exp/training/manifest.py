"""The origin of a result, for its manifest: the process and the dataset."""

import os
import platform
import shlex
import socket
import sys
from collections.abc import Iterable, Mapping
from contextlib import suppress
from importlib import metadata
from typing import Any

import gymnasium as gym
import numpy as np
import torch

from bcq_exp.data import Transitions
from bcq_exp.io.masking import masked_words
from bcq_exp.io.source import git_revision, source_digest
from bcq_exp.training.datasets import Parts, Spaces
from bcq_exp.training.identity import dataset_digest

PACKAGES = ("bcq_exp", "torch", "numpy", "gymnasium", "hydra-core", "omegaconf", "wandb", "h5py", "mujoco", "ale-py")
SPACES = ("observation", "action")


def process_account(device: torch.device, num_threads: int) -> dict[str, Any]:
    """This process: its command, the code, versions of packages and the machine.

    Args:
        device: the device that it computes on.
        num_threads: cores that it uses.
    """
    return {
        "command": shlex.join(["python", *masked_words(sys.orig_argv[1:])]),
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "git_revision": git_revision(),
        "source_sha256": source_digest(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": versions(PACKAGES),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or device.type,
        "num_threads": num_threads,
    }


def dataset_account(parts: Parts, spaces: Spaces | None) -> dict[str, Any]:
    """A run's dataset: its source, digest and size, and those of the part that is held out.

    Args:
        parts: of the dataset, checked.
        spaces: of observations and actions where no environment says them, which a policy is loaded with.
    """
    account = {"source": parts.learned.source, "sha256": parts.sha256, **_size(parts.learned)}
    account |= _names_account(parts.learned)
    if parts.is_held_out and parts.judged is not None:
        account["held_out"] = {"sha256": dataset_digest(parts.judged), **_size(parts.judged)}
    if spaces is not None:
        account["spaces"] = dict(zip(SPACES, map(plain_space, spaces), strict=True))
    return account


def _size(transitions: Transitions) -> dict[str, Any]:
    return {
        "num_transitions": len(transitions),
        "num_episodes": len(transitions.episode_returns),
        "behaviour_return": float(transitions.episode_returns.mean()),
    }


def versions(packages: Iterable[str]) -> dict[str, str]:
    """The versions of those packages that are installed."""
    found = {}
    for package in packages:
        with suppress(metadata.PackageNotFoundError):
            found[package] = metadata.version(package)
    return found


def _names_account(transitions: Transitions) -> dict[str, Any]:
    """The names of observations, and of discrete actions with how often each was taken, where they have names."""
    account: dict[str, Any] = {}
    if (names := transitions.obs_names) is not None:
        account["obs_names"] = list(names)
    if (names := transitions.action_names) is not None:
        counts = np.bincount(transitions.act, minlength=len(names)).tolist()
        account |= {"action_names": list(names), "action_counts": counts}
    return account


def plain_space(space: gym.Space[Any]) -> dict[str, Any]:
    """A space of `recorded_spaces` as JSON; bounds without an end are null."""
    if isinstance(space, gym.spaces.Discrete):
        return {"n": int(space.n)}
    assert isinstance(space, gym.spaces.Box)
    has_ends = bool(np.isfinite(space.low).all() and np.isfinite(space.high).all())
    ends = {"low": space.low.tolist(), "high": space.high.tolist()} if has_ends and len(space.shape) == 1 else {}
    return {"shape": list(space.shape), "dtype": str(space.dtype), **ends}


def spaces_in(manifest: Mapping[str, Any] | None) -> Spaces | None:
    """The spaces that a run's manifest keeps; None where an environment says them. Raises ValueError for damage."""
    try:
        kept = (manifest or {}).get("dataset", {}).get("spaces")
        return None if kept is None else (_space(kept["observation"]), _space(kept["action"]))
    except (AttributeError, KeyError, TypeError, ValueError, AssertionError) as error:
        raise ValueError(f"its manifest holds no spaces that can be read ({error}); restore it from a copy") from None


def _space(kept: Mapping[str, Any]) -> gym.Space[Any]:
    if "n" in kept:
        return gym.spaces.Discrete(kept["n"])
    dtype = np.dtype(kept["dtype"]).type
    if "low" in kept:
        return gym.spaces.Box(np.array(kept["low"], dtype), np.array(kept["high"], dtype), dtype=dtype)
    low, high = (0, 255) if dtype == np.uint8 else (-np.inf, np.inf)
    return gym.spaces.Box(low, high, tuple(kept["shape"]), dtype)
