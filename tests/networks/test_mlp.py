import numpy as np
import pytest
import torch
from scipy.special import erf
from torch import nn

from algorithms import tiny
from bcq_exp.fields import violations
from bcq_exp.networks import ACTIVATIONS, MLP, MLPNetworkConfig

FORMULAS = {
    "relu": lambda x: np.maximum(x, 0),
    "tanh": np.tanh,
    "elu": lambda x: np.where(x > 0, x, np.expm1(np.minimum(x, 0))),
    "gelu": lambda x: x * (1 + erf(x / np.sqrt(2))) / 2,
}


def test_every_activation_has_a_formula_here() -> None:
    assert FORMULAS.keys() == ACTIVATIONS.keys()


@pytest.mark.parametrize("activation", FORMULAS)
def test_activation_between_the_layers_and_none_behind_the_last(activation: str) -> None:
    torch.manual_seed(0)
    mlp = MLP(3, 2, hidden_sizes=[5, 4], activation=activation).double()
    weights = [param.detach().numpy() for param in mlp.parameters()]
    assert [w.shape for w in weights] == [(5, 3), (5,), (4, 5), (4,), (2, 4), (2,)]
    x = 9 * torch.randn(7, 3, dtype=torch.float64)
    out = x.numpy()
    for w, b in zip(weights[:-2:2], weights[1:-2:2], strict=True):
        out = FORMULAS[activation](out @ w.T + b)
    np.testing.assert_allclose(mlp(x).detach(), out @ weights[-2].T + weights[-1], atol=1e-12)


def test_layer_norm_follows_each_activation_and_not_the_output() -> None:
    mlp = MLP(3, 2, hidden_sizes=[5, 4], activation="relu", has_layer_norm=True).double()
    weights = [param.detach() for param in mlp.parameters()]
    assert [tuple(w.shape) for w in weights] == [(5, 3), (5,), (5,), (5,), (4, 5), (4,), (4,), (4,), (2, 4), (2,)]
    with torch.no_grad():
        for scale, shift in ((weights[2], weights[3]), (weights[6], weights[7])):
            scale.copy_(torch.randn_like(scale))
            shift.copy_(torch.randn_like(shift))
    x = out = torch.randn(7, 3, dtype=torch.float64)
    for w, b, scale, shift in (weights[:4], weights[4:8]):
        hidden = (out @ w.T + b).relu()
        centred = hidden - hidden.mean(-1, keepdim=True)
        out = scale * centred / (centred.square().mean(-1, keepdim=True) + 1e-6).sqrt() + shift
    torch.testing.assert_close(mlp(x), out @ weights[8].T + weights[9])


def test_output_is_raw_so_that_values_keep_their_range() -> None:
    mlp = MLP(1, 2, hidden_sizes=[], activation="relu")
    (linear,) = mlp.layers
    assert isinstance(linear, nn.Linear)
    nn.init.constant_(linear.weight, -40)
    nn.init.constant_(linear.bias, 3)
    assert mlp(torch.tensor([[2.0], [-2.0]])).tolist() == [[-77, -77], [83, 83]]


def test_leading_axes_are_kept() -> None:
    mlp = MLP(3, 2, hidden_sizes=[4], activation="tanh")
    x = torch.randn(5, 6, 3)
    torch.testing.assert_close(mlp(x)[2, 3], mlp(x[2, 3]))


def test_unknown_activation_is_named_with_the_choices() -> None:
    with pytest.raises(ValueError, match=r"activation='swish' is unknown; choose one of relu, tanh, elu, gelu"):
        MLP(3, 2, hidden_sizes=[4], activation="swish")


def test_under_bf16_products_the_last_layer_is_exact() -> None:
    """1 + 2^-9 is a number of fp32, and 1 in bf16."""
    mlp = MLP(1, 1, hidden_sizes=[1], activation="relu")
    for param, value in zip(mlp.parameters(), (1 + 2**-9, 0.0, 1 + 2**-9, 2**-9), strict=True):
        nn.init.constant_(param, value)
    with torch.autocast("cpu", torch.bfloat16):
        out = mlp(torch.ones(1, 1))
    assert out.dtype == torch.float32
    assert out.item() == 1 * (1 + 2**-9) + 2**-9


def test_the_configuration_hands_on_the_right_widths() -> None:
    cfg = MLPNetworkConfig(**vars(tiny.NETWORK) | {"hidden_sizes": [4], "vae_hidden_sizes": [7], "activation": "tanh"})
    assert cfg.hidden == {"hidden_sizes": [4], "activation": "tanh"}
    assert cfg.vae_hidden == {"hidden_sizes": [7], "activation": "tanh"}
    assert all(violations(MLPNetworkConfig, {"activation": name}) == [] for name in ACTIVATIONS)
    assert violations(MLPNetworkConfig, {"activation": "swish"}) == [
        "activation=swish is none of relu, tanh, elu, gelu"
    ]
