import torch

from bcq_exp.networks import DualVariable


def test_it_starts_at_one_and_learns_its_logarithm() -> None:
    dual = DualVariable()
    assert dual().exp().item() == 1
    assert dual().shape == ()
    (3 * dual()).backward()
    assert [param.grad.item() for param in dual.parameters()] == [3]
    torch.testing.assert_close(dual(), dual.log_value)
