import torch
from torch import Tensor, nn

from bcq_exp.policies.net import Net


class Recurrent(nn.Module):
    def forward(self, obs: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
        start = torch.zeros(len(obs), 1) if state is None else state
        return obs + start, start + 1


def test_net_passes_the_given_state_on_and_no_other() -> None:
    obs = torch.zeros(2, 1)
    without, given = (
        Net(Recurrent(), is_recurrent=True),
        Net(Recurrent(), is_recurrent=True, state=torch.full((2, 1), 5.0)),
    )
    for _ in range(2):
        assert without(obs).tolist() == [[0], [0]]
        assert given(obs).tolist() == [[5], [5]]
    assert without.state_next.tolist() == [[1], [1]]
    assert given.state_next.tolist() == [[6], [6]]


def test_net_gives_plain_tensors_scalars_and_pairs() -> None:
    assert Net(nn.Identity())(torch.ones(3, 1)).shape == (3, 1)
    assert Net(nn.Identity(), is_scalar=True)(torch.ones(3, 1)).shape == (3,)
    mean, std = Net(Recurrent())(torch.zeros(3, 1))
    assert (mean.sum(), std.sum()) == (0, 3)
