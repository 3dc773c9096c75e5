import gymnasium as gym
import numpy as np
import pytest
import torch

from bcq_exp.algorithms.form import Algorithm
from bcq_exp.data import Batch
from bcq_exp.ope import batches
from bcq_exp.ope.action_table import ActionTable, tabulate
from bcq_exp.ops.discrete import masked_argmax
from bcq_exp.policies import Policy


def greedy_of_three(eval_eps: float, probs: torch.Tensor | None = None) -> Policy:
    """Takes the largest available of three features; or draws, and says with what probabilities."""

    def act(nets, batch, noise, hp):
        found = {"act": masked_argmax(batch["obs"], batch.get("mask"))}
        return found if probs is None else found | {"probs": probs.expand(len(batch["obs"]), -1)}

    algorithm = Algorithm(stages=(), targets={}, act=act, swept=frozenset({"eval_eps"}))
    space = gym.spaces.Discrete(3, start=5)
    policy = Policy(
        algorithm=algorithm,
        nets={"model": torch.nn.Identity()},
        optimizers={},
        hp={"eval_eps": eval_eps},
        action_space=space,
    )
    policy.seed(0)
    return policy.train(False)


OBS = np.array([[0.0, 2.0, 1.0], [3.0, 1.0, 9.0]], np.float32)
MASK = np.array([[True, True, True], [True, True, False]])


def test_discrete_actions_are_those_of_evaluation_by_hand():
    found = tabulate(greedy_of_three(0.3), OBS, None)
    assert found.numpy() == pytest.approx(np.array([[0.1, 0.8, 0.1], [0.1, 0.1, 0.8]]), abs=1e-6)
    masked = tabulate(greedy_of_three(0.3), OBS, MASK)
    assert masked.numpy() == pytest.approx(np.array([[0.1, 0.8, 0.1], [0.85, 0.15, 0.0]]), abs=1e-6)


def test_a_policy_acts_as_often_as_its_table_says():
    policy = greedy_of_three(0.3)
    batch = Batch(obs=np.repeat(OBS, 20_000, 0), mask=np.repeat(MASK, 20_000, 0))
    acts = policy.exploration_noise(policy(batch).act, batch).numpy().reshape(2, -1)
    shares = np.stack([(acts == action).mean(1) for action in range(3)], 1)
    assert shares == pytest.approx(tabulate(policy, OBS, MASK).numpy(), abs=0.01)


def test_a_policy_that_draws_is_taken_by_its_own_probabilities():
    found = tabulate(greedy_of_three(0.3, torch.tensor([0.2, 0.8, 0.0])), OBS, None)
    assert found.numpy() == pytest.approx(np.array([[0.24, 0.66, 0.1]] * 2), abs=1e-6)


def test_where_no_action_is_available_nothing_breaks():
    assert tabulate(greedy_of_three(0.3), OBS[:1], np.zeros((1, 3), bool)).isfinite().all()


def test_continuous_actions_are_in_the_environments_units():
    algorithm = Algorithm(
        stages=(), targets={}, act=lambda nets, batch, noise, hp: {"act": batch["obs"]}, swept=frozenset()
    )
    space, nets = gym.spaces.Box(-2, 4, (1,)), {"model": torch.nn.Identity()}
    policy = Policy(algorithm=algorithm, nets=nets, optimizers={}, hp={}, action_space=space, action_scaling=True)
    found = tabulate(policy, np.array([[-1.0], [0.5], [7.0]]), None)
    assert found.tolist() == [[-2.0], [2.5], [4.0]]


def test_batches_follow_one_another(monkeypatch: pytest.MonkeyPatch):
    obs = np.random.default_rng(0).normal(size=(7, 3)).astype(np.float32)
    whole = tabulate(greedy_of_three(0.3), obs, None)
    monkeypatch.setattr(batches, "NUM_ROWS", 3)
    assert torch.equal(tabulate(greedy_of_three(0.3), obs, None), whole)


def test_a_table_is_read_by_row():
    table = ActionTable(torch.tensor([[1.0], [2.0], [3.0]]))
    assert table(torch.tensor([2, 0])).tolist() == [[3.0], [1.0]]
    assert list(table.parameters()) == []
