import pytest
import torch

from bcq_exp.networks import Critic, LateActionCritic


def test_one_value_a_pair_from_both_the_observation_and_the_action() -> None:
    critic = Critic(2, 1, hidden_sizes=[], activation="relu")
    with torch.no_grad():
        for param, value in zip(critic.parameters(), ([[1.0, 10.0, 100.0]], [0.5]), strict=True):
            param.copy_(torch.tensor(value))
    obs, act = torch.tensor([[1.0, 2.0], [3.0, 4.0]]), torch.tensor([[5.0], [-6.0]])
    assert critic(obs, act).tolist() == [1 + 20 + 500 + 0.5, 3 + 40 - 600 + 0.5]
    assert critic(obs.expand(7, 2, 2), act.expand(7, 2, 1)).shape == (7, 2)


def test_an_action_that_enters_the_second_layer_passes_no_activation_before() -> None:
    """By hand: max(s - 2, 0) of s = 5 and 1, then 10 max(s - 2, 0) + 100 a + 0.5, rectified, and twice that less 1."""
    critic = LateActionCritic(1, 1, hidden_sizes=[1, 1], activation="relu")
    values = [[[1.0]], [-2.0], [[10.0, 100.0]], [0.5], [[2.0]], [-1.0]]
    with torch.no_grad():
        for param, value in zip(critic.parameters(), values, strict=True):
            param.copy_(torch.tensor(value))
    obs, act = torch.tensor([[5.0], [1.0], [1.0]]), torch.tensor([[-0.25], [0.25], [-0.25]])
    assert critic(obs, act).tolist() == [2 * (30 - 25 + 0.5) - 1, 2 * (25 + 0.5) - 1, -1]
    assert critic(obs.expand(7, 3, 1), act.expand(7, 3, 1)).shape == (7, 3)
    shallow = LateActionCritic(3, 2, hidden_sizes=[8], activation="relu")
    assert [tuple(param.shape) for param in shallow.parameters()] == [(8, 3), (8,), (1, 10), (1,)]


def test_a_critic_without_hidden_layers_has_no_second_one() -> None:
    with pytest.raises(ValueError, match=r"hidden_sizes=\[\]: .*second layer"):
        LateActionCritic(3, 2, hidden_sizes=[], activation="relu")
