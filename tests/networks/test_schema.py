import pytest

from bcq_exp.fields import violations
from bcq_exp.networks import ACTIVATIONS, MLPNetworkConfig, Sizes


def test_network_config_hands_on_the_right_widths() -> None:
    cfg = MLPNetworkConfig(name="x", kind="mlp", hidden_sizes=[4], vae_hidden_sizes=[7], activation="tanh")
    assert cfg.hidden == {"hidden_sizes": [4], "activation": "tanh"}
    assert cfg.vae_hidden == {"hidden_sizes": [7], "activation": "tanh"}
    assert all(violations(MLPNetworkConfig, {"activation": name}) == [] for name in ACTIVATIONS)
    assert violations(MLPNetworkConfig, {"activation": "swish"}) == [
        "activation=swish is none of relu, tanh, elu, gelu"
    ]


def test_an_image_has_no_single_dimension():
    assert Sizes((7,), 2, 1.0).obs_dim == 7
    with pytest.raises(ValueError, match="too many values to unpack"):
        _ = Sizes((1, 36, 36), 2, 1.0).obs_dim
