import pytest
import torch
from torch import nn

from bcq_exp.engine.stacking import Stack, stack


def test_layers_that_a_stack_cannot_serve_are_refused():
    for layer in (nn.BatchNorm1d(3), nn.Dropout(0.5), nn.RReLU()):
        with pytest.raises(ValueError, match="cannot be stacked"):
            Stack([{"net": nn.Sequential(layer)}])


def test_a_shared_trunk_stays_shared():
    members = []
    for _ in range(2):
        trunk = nn.Linear(3, 4)
        members.append({"a": nn.Sequential(trunk, nn.Linear(4, 1)), "b": nn.Sequential(trunk, nn.Linear(4, 2))})
    stacked = Stack(members)
    assert stacked.keys["b"]["0.weight"] == "a.0.weight"
    assert stacked.trained(["a", "b"]) == ["a.0.weight", "a.0.bias", "a.1.weight", "a.1.bias", "b.1.weight", "b.1.bias"]
    assert members[1]["b"][0] is members[1]["a"][0]


@pytest.mark.parametrize("num_members", [1, 3])
def test_kernels_lie_channels_last_and_keep_their_numbers(num_members: int):
    members = [nn.Conv2d(4, 8, 3) for _ in range(num_members)]
    before = [member.weight.detach().clone() for member in members]
    stacked = stack([member.weight for member in members])
    assert stacked.shape == (num_members, 8, 4, 3, 3)
    for row, member, numbers in zip(stacked, members, before, strict=True):
        assert row.is_contiguous(memory_format=torch.channels_last)
        assert torch.equal(row, numbers)
        row += 1
        assert torch.equal(member.weight, numbers + 1), "the member holds a view"
