import json
from dataclasses import replace
from importlib.metadata import version

import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, Discrete

from bcq_exp.io.source import source_digest
from bcq_exp.training.datasets import ALL, HELD_OUT, Parts
from bcq_exp.training.identity import dataset_digest
from bcq_exp.training.manifest import dataset_account, process_account, spaces_in
from cases import random_walk


def test_a_process_is_known_by_its_code_and_its_versions():
    found = process_account(torch.device("cpu"), 5)
    assert found["packages"]["gymnasium"] == version("gymnasium")
    assert found["source_sha256"] == source_digest()
    assert found["num_threads"] == 5


def test_a_dataset_is_described_by_its_size_and_its_behaviour():
    data = random_walk(2, is_discrete=True)
    found = dataset_account(Parts(data, None, ALL), None)
    assert (found["num_transitions"], found["num_episodes"], found["sha256"]) == (40, 2, dataset_digest(data))
    assert found["behaviour_return"] == data.episode_returns.mean()
    assert found.keys().isdisjoint({"held_out", "spaces"})


def test_a_part_that_is_held_out_is_described_too_and_belongs_to_the_digest():
    data, others = random_walk(2, is_discrete=True), [random_walk(num, is_discrete=True) for num in (1, 3)]
    found = [dataset_account(Parts(data, held_out, HELD_OUT), None) for held_out in others]
    assert [account["held_out"]["num_episodes"] for account in found] == [1, 3]
    assert found[0]["held_out"]["sha256"] == dataset_digest(others[0])
    assert len({dataset_digest(data), *(account["sha256"] for account in found)}) == 3


@pytest.mark.parametrize(
    "spaces",
    [
        (Box(-np.inf, np.inf, (3,), np.float32), Discrete(5)),
        (Box(0, 255, (4, 36, 36), np.uint8), Box(np.float32([-1, 0.1]), np.float32([2, 1e9]), dtype=np.float32)),
    ],
)
def test_spaces_come_back_from_json(spaces: tuple):
    account = dataset_account(Parts(random_walk(2, is_discrete=True), None, ALL), spaces)
    assert spaces_in({"dataset": json.loads(json.dumps(account))}) == spaces


def test_a_manifest_without_spaces_has_none_and_a_damaged_one_is_refused():
    assert spaces_in(None) is spaces_in({"dataset": {}}) is None
    with pytest.raises(ValueError, match="its manifest holds no spaces that can be read"):
        spaces_in({"dataset": {"spaces": {"observation": {"shape": [3], "dtype": "float32"}}}})


def test_names_are_kept_and_named_actions_counted():
    data = replace(random_walk(2, is_discrete=True), act=np.array([0, 2] * 20), action_names=("a", "b", "c"))
    data = replace(data, obs_names=("x", "y", "z", "w"))
    found = dataset_account(Parts(data, None, ALL), None)
    assert found["obs_names"] == ["x", "y", "z", "w"]
    assert (found["action_names"], found["action_counts"]) == (["a", "b", "c"], [20, 0, 20])
    assert "action_names" not in dataset_account(Parts(random_walk(2, is_discrete=True), None, ALL), None)
