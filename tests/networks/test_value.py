import torch

from bcq_exp.networks import Value


def test_one_value_an_observation() -> None:
    value = Value(2, hidden_sizes=[], activation="relu")
    with torch.no_grad():
        for param, number in zip(value.parameters(), ([[1.0, 10.0]], [0.5]), strict=True):
            param.copy_(torch.tensor(number))
    obs = torch.tensor([[1.0, 2.0], [3.0, -4.0]])
    assert value(obs).tolist() == [1 + 20 + 0.5, 3 - 40 + 0.5]
    assert value(obs.expand(7, 2, 2)).shape == (7, 2)
