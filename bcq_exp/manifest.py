"""What a result can be traced back to."""

import hashlib
import platform
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from bcq_exp.data import Transitions
from bcq_exp.data.frames import FrameStacks
from bcq_exp.data.storage import chunks
from bcq_exp.masking import masked_words

PACKAGES = ("bcq_exp", "torch", "numpy", "gymnasium", "hydra-core", "omegaconf", "wandb", "h5py", "mujoco", "ale-py")


def manifest(transitions: Transitions, device: torch.device) -> dict[str, Any]:
    """Revision, versions, dataset and device of a run.

    Args:
        transitions: the dataset as it was read.
        device: where the run computes.
    """
    return {
        "command": masked_words(sys.argv),
        "git_revision": git_revision(),
        "source_sha256": source_digest(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": {name: version for name in PACKAGES if (version := _version(name)) is not None},
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or device.type,
        "num_threads": torch.get_num_threads(),
        "dataset": {
            "source": transitions.source,
            "sha256": digest(transitions),
            "num_transitions": len(transitions),
            "num_episodes": len(transitions.episode_returns),
            "behaviour_return": float(transitions.episode_returns.mean()),
        },
    }


def git_revision() -> str | None:
    """The commit of the source, with "-dirty" where files differ from it; None outside a checkout."""
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--abbrev=40", "--dirty"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def source_digest() -> str:
    """Sha256 over the package's source files: tells whether two runs were made by the same code."""
    sha = hashlib.sha256()
    for path in sorted(Path(__file__).parent.rglob("*.py")):
        sha.update(path.read_bytes())
    return sha.hexdigest()


def digest(transitions: Transitions) -> str:
    """Sha256 over the columns, whatever file they came from; over the frames, where observations are stacks of them."""
    sha = hashlib.sha256()
    obs = transitions.obs
    behind = (obs.frames, obs.newest) if isinstance(obs, FrameStacks) else (obs,)
    for column in (*behind, transitions.act, transitions.rew, transitions.terminated, transitions.truncated):
        for rows in chunks(column):
            sha.update(column[rows].tobytes())
    return sha.hexdigest()


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
