from importlib.metadata import version

import torch

from bcq_exp.io.source import source_digest
from bcq_exp.training.manifest import dataset_account, process_account
from cases import random_walk


def test_a_process_is_known_by_its_code_and_its_versions():
    found = process_account(torch.device("cpu"), 5)
    assert found["packages"]["gymnasium"] == version("gymnasium")
    assert found["source_sha256"] == source_digest()
    assert found["num_threads"] == 5


def test_a_dataset_is_described_by_its_size_and_its_behaviour():
    data = random_walk(2, is_discrete=True)
    found = dataset_account(data, "abc")
    assert (found["num_transitions"], found["num_episodes"], found["sha256"]) == (40, 2, "abc")
    assert found["behaviour_return"] == data.episode_returns.mean()
