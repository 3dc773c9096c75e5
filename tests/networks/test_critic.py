import torch

from bcq_exp.networks import Critic


def test_one_value_a_pair_from_both_the_observation_and_the_action() -> None:
    critic = Critic(2, 1, hidden_sizes=[], activation="relu")
    with torch.no_grad():
        for param, value in zip(critic.parameters(), ([[1.0, 10.0, 100.0]], [0.5]), strict=True):
            param.copy_(torch.tensor(value))
    obs, act = torch.tensor([[1.0, 2.0], [3.0, 4.0]]), torch.tensor([[5.0], [-6.0]])
    assert critic(obs, act).tolist() == [1 + 20 + 500 + 0.5, 3 + 40 - 600 + 0.5]
    assert critic(obs.expand(7, 2, 2), act.expand(7, 2, 1)).shape == (7, 2)
