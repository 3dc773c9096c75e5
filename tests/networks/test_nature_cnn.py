import numpy as np
import pytest
import torch
from scipy.signal import correlate
from torch import nn

from bcq_exp.networks import MLP, Branch, NatureCNN
from bcq_exp.networks.nature_cnn import SMALLEST_SIDE

STRIDES = (4, 2, 1)


def count(module: nn.Module) -> int:
    return sum(param.numel() for param in module.parameters())


def test_features_are_those_of_correlations_worked_out_one_by_one() -> None:
    torch.manual_seed(0)
    trunk = NatureCNN((2, 44, 36)).double()
    weights = [param.detach().numpy() for param in trunk.parameters()]
    assert [w.shape for w in weights] == [(32, 2, 8, 8), (32,), (64, 32, 4, 4), (64,), (64, 64, 3, 3), (64,)]
    image = torch.randint(256, (2, 44, 36), dtype=torch.uint8)
    maps = image.numpy() / 255.0
    for w, b, stride in zip(weights[::2], weights[1::2], STRIDES, strict=True):
        # A kernel as deep as its input leaves one map, of every place; the strided convolution keeps some of them.
        whole = np.stack([correlate(maps, kernel, mode="valid", method="direct")[0] for kernel in w])
        maps = np.maximum(whole[:, ::stride, ::stride] + b[:, None, None], 0)
    assert maps.shape == (64, 2, 1)
    found = trunk(image.double()).detach().numpy()
    assert np.count_nonzero(found) > 10
    np.testing.assert_allclose(found, maps.reshape(-1), rtol=0, atol=1e-12)


def test_number_of_parameters_at_the_papers_size() -> None:
    """84 pixels become 20, 9 and 7."""
    net = Branch(NatureCNN((4, 84, 84)), 6, hidden_sizes=[512])
    convolutions = (4 * 8 * 8 + 1) * 32 + (32 * 4 * 4 + 1) * 64 + (64 * 3 * 3 + 1) * 64
    assert net.trunk.num_features == 64 * 7 * 7 == 3136
    assert count(net.trunk) == convolutions == 77_984
    assert count(net) == convolutions + (3136 + 1) * 512 + (512 + 1) * 6 == 1_687_206


def test_bytes_and_floats_batches_and_single_images_are_the_same() -> None:
    net = Branch(NatureCNN((3, 36, 36)), 2, hidden_sizes=[4])
    images = torch.randint(256, (5, 3, 36, 36), dtype=torch.uint8)
    assert torch.equal(net(images), net(images.float()))
    torch.testing.assert_close(net(images)[2], net(images[2]))


def test_a_branch_is_a_rectified_head_on_the_trunk_that_was_given() -> None:
    trunk = NatureCNN((1, 36, 36))
    one, other = (Branch(trunk, 3, hidden_sizes=[5]) for _ in range(2))
    assert one.trunk is other.trunk is trunk
    twin = MLP(trunk.num_features, 3, hidden_sizes=[5], activation="relu")
    twin.load_state_dict(one.head.state_dict())
    images = torch.randint(256, (4, 1, 36, 36))
    assert torch.equal(one(images), twin(trunk(images)))
    assert not torch.equal(one(images), other(images))


def test_36_pixels_leave_one_feature_a_channel_and_35_none() -> None:
    assert SMALLEST_SIDE == 36
    assert NatureCNN((1, 36, 36)).num_features == 64
    for shape in ((1, 35, 36), (1, 36, 35), (84, 84, 3)):
        with pytest.raises(ValueError, match=r"obs_shape=.* with at least 36 pixels each way"):
            NatureCNN(shape)


@pytest.mark.parametrize("shape", [(4,), (84, 84), (1, 4, 84, 84)])
def test_other_numbers_of_axes_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"obs_shape=.*\(channels, height, width\)"):
        NatureCNN(shape)
