"""The origin of a result, for its manifest: the process and the dataset."""

import os
import platform
import shlex
import socket
import sys
from importlib import metadata
from typing import Any

import numpy as np
import torch

from bcq_exp.data import Transitions
from bcq_exp.io.masking import masked_words
from bcq_exp.io.source import git_revision, source_digest

PACKAGES = ("bcq_exp", "torch", "numpy", "gymnasium", "hydra-core", "omegaconf", "wandb", "h5py", "mujoco", "ale-py")


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
        "packages": {name: version for name in PACKAGES if (version := _version(name)) is not None},
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or device.type,
        "num_threads": num_threads,
    }


def dataset_account(transitions: Transitions, sha256: str) -> dict[str, Any]:
    """A run's dataset: its source, digest and size.

    Args:
        transitions: the dataset, preprocessed.
        sha256: as `identity.dataset_digest` returns it.
    """
    return {
        "source": transitions.source,
        "sha256": sha256,
        "num_transitions": len(transitions),
        "num_episodes": len(transitions.episode_returns),
        "behaviour_return": float(transitions.episode_returns.mean()),
        **_actions_account(transitions),
    }


def _actions_account(transitions: Transitions) -> dict[str, Any]:
    """The names of discrete actions and how often each was taken, where they have names."""
    names = transitions.action_names
    if names is None:
        return {}
    return {"action_names": list(names), "action_counts": np.bincount(transitions.act, minlength=len(names)).tolist()}


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
