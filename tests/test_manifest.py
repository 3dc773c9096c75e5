import subprocess
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest
import torch

from bcq_exp.manifest import digest, git_revision, manifest, source_digest
from cases import random_walk

ROOT = Path(__file__).parents[1]


def test_the_dataset_is_known_by_every_value_of_its_columns():
    data = random_walk(2, is_discrete=True)
    same = random_walk(2, is_discrete=True)
    assert digest(data) == digest(same)
    for name in ("obs", "act", "rew", "terminated", "truncated"):
        column = getattr(data, name).copy()
        column.flat[-1] = 1 - column.flat[-1] if column.dtype != bool else not column.flat[-1]
        assert digest(replace(data, **{name: column})) != digest(data), name
    masks = np.ones((len(data), 2), np.bool_)
    found = {digest(replace(data, mask=masks, mask_next=other)) for other in (masks, ~masks)}
    assert len(found | {digest(data)}) == 3


def test_the_revision_is_gits_own():
    head = subprocess.run(["git", "-C", str(ROOT), "rev-parse", "HEAD"], capture_output=True, text=True)
    if head.returncode:
        pytest.skip("not a git checkout")
    assert git_revision().removesuffix("-dirty") == head.stdout.strip()


def test_a_manifest_names_versions_dataset_and_code():
    data = random_walk(2, is_discrete=True)
    found = manifest(data, torch.device("cpu"))
    assert found["packages"]["gymnasium"] == version("gymnasium")
    assert found["dataset"]["num_transitions"] == 40
    assert found["dataset"]["num_episodes"] == 2
    assert found["dataset"]["sha256"] == digest(data)
    assert found["source_sha256"] == source_digest()
