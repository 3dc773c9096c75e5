import torch

from bcq_exp.ops.standardize import standardize


def test_each_feature_has_its_own_mean_and_scale():
    x = torch.tensor([[1.0, 10.0], [3.0, -10.0]])
    out = standardize(x, torch.tensor([1.0, 10.0]), torch.tensor([2.0, 0.5]))
    assert out.tolist() == [[0.0, 0.0], [1.0, -40.0]]
    assert standardize(x[0].expand(4, 3, 2), x[0], torch.ones(2)).tolist() == torch.zeros(4, 3, 2).tolist()
