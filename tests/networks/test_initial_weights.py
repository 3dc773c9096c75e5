import math
from typing import Any

import pytest
import torch
from torch import nn

from algorithms import tiny
from bcq_exp.algorithms import REGISTRY
from bcq_exp.algorithms.definition import POLICIES
from bcq_exp.networks import MLP, EnsembleCritic, MLPNetworkConfig, NatureCNNConfig, Sizes
from bcq_exp.networks.initial_weights import INITS, Layer, initialize

LAYERS = {
    "wide": lambda: nn.Linear(3, 400),
    "narrow": lambda: nn.Linear(400, 3),
    "convolution": lambda: nn.Conv2d(4, 50, 5),
}
# The largest weight of each layer by the published formula, and the biases; where none is given, see below.
BOUNDS = {
    ("fan_in", "wide"): (1 / math.sqrt(400), 0.1),  # outputs, not inputs: the published code has W's first axis
    ("fan_in", "narrow"): (1 / math.sqrt(3), 0.1),
    ("fan_in", "convolution"): (1 / math.sqrt(4 * 25), 0.1),
    ("variance_scaling", "wide"): (math.sqrt(math.sqrt(3) / 3), 0),
    ("variance_scaling", "narrow"): (math.sqrt(math.sqrt(3) / 400), 0),
    ("variance_scaling", "convolution"): (math.sqrt(math.sqrt(3) / (4 * 25)), 0),
}


def drawn(layer: str, init: str, scale: float | None = None) -> Layer:
    torch.manual_seed(0)
    made = LAYERS[layer]()
    initialize(made, init, scale)
    return made


@pytest.mark.parametrize(("init", "layer"), BOUNDS)
def test_uniform_weights_fill_the_published_range(init: str, layer: str):
    made, (bound, bias) = drawn(layer, init), BOUNDS[init, layer]
    assert 0.99 * bound < made.weight.abs().max() <= bound
    assert made.weight.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.05)
    assert made.weight.mean().item() == pytest.approx(0, abs=0.05 * bound)
    assert (made.bias == bias).all()


@pytest.mark.parametrize("layer", LAYERS)
def test_orthogonal_weights_stretch_by_the_root_of_two(layer: str):
    made = drawn(layer, "orthogonal")
    rows = made.weight.flatten(1)
    products = rows @ rows.T if len(rows) <= rows.shape[1] else rows.T @ rows
    torch.testing.assert_close(products, 2 * torch.eye(len(products)), atol=1e-5, rtol=0)
    assert (made.bias == 0).all()


def test_torchs_own_weights_are_left_alone_and_no_number_is_drawn():
    torch.manual_seed(0)
    net = MLP(3, 2, hidden_sizes=[5], activation="relu")
    before, state = [param.clone() for param in net.parameters()], torch.get_rng_state()
    initialize(net, "torch", None)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(map(torch.equal, net.parameters(), before))


@pytest.mark.parametrize("init", INITS)
def test_the_last_layer_alone_has_its_own_scale(init: str):
    made = [MLP(3, 40, hidden_sizes=[50, 60], activation="relu", has_layer_norm=True) for _ in range(2)]
    for net, scale in zip(made, (None, 0.01), strict=True):
        torch.manual_seed(1)
        net.load_state_dict(made[0].state_dict())
        initialize(net, init, scale)
    whole, small = ([layer for layer in net.modules() if isinstance(layer, Layer)] for net in made)
    assert all(torch.equal(one.weight, other.weight) for one, other in zip(whole[:-1], small[:-1], strict=True))
    for param in small[-1].parameters():
        assert 0.0085 < param.abs().max() <= 0.01
    assert whole[-1].weight.abs().max() > 0.02


def fresh(name: str, **changed: Any) -> dict[str, nn.Module]:
    torch.manual_seed(0)
    network = MLPNetworkConfig(**vars(tiny.NETWORK) | changed)
    act_dim = int(tiny.DISCRETE.n) if REGISTRY[name].is_discrete else tiny.ACT_DIM
    return REGISTRY[name].fresh_networks(tiny.config(name), network, Sizes((tiny.OBS_DIM,), act_dim, 1.0))


def matrices(nets: dict[str, nn.Module]) -> dict[str, torch.Tensor]:
    return {
        f"{name}.{key}": tensor
        for name, net in nets.items()
        for key, tensor in net.named_parameters()
        if tensor.ndim > 1
    }


@pytest.mark.parametrize("name", REGISTRY)
def test_networks_of_an_algorithm_have_torchs_weights_unless_others_are_named(name: str):
    torch.manual_seed(0)
    act_dim = int(tiny.DISCRETE.n) if REGISTRY[name].is_discrete else tiny.ACT_DIM
    bare = REGISTRY[name].networks(tiny.config(name), tiny.NETWORK, Sizes((tiny.OBS_DIM,), act_dim, 1.0))
    default, orthogonal, again = fresh(name), fresh(name, init="orthogonal"), fresh(name, init="orthogonal")
    for key, weight in matrices(bare).items():
        assert torch.equal(matrices(default)[key], weight)
        assert not torch.isclose(matrices(orthogonal)[key], weight).any(), f"{key} keeps its first weights"
        assert torch.equal(matrices(again)[key], matrices(orthogonal)[key])


@pytest.mark.parametrize("name", REGISTRY)
def test_the_scale_of_the_policy_is_of_what_makes_the_actions_alone(name: str):
    scaled = {"last_layer_scale": 1e-3}, {"last_layer_scale": 1e-3, "policy_last_layer_scale": 1e-6}
    general, own = (fresh(name, **changed) for changed in scaled)
    differing = {
        key.partition(".")[0] for key, w in matrices(general).items() if not torch.equal(w, matrices(own)[key])
    }
    assert differing == POLICIES & general.keys()
    assert REGISTRY[name].has_policy(tiny.config(name)) == bool(differing)
    for net_name, net in own.items():
        if layers := [layer for layer in net.modules() if isinstance(layer, Layer)]:
            assert layers[-1].weight.abs().max() <= (1e-6 if net_name in POLICIES else 1e-3)
            assert all(layer.weight.abs().max() > 1e-2 for layer in layers[:-1])


def test_convolutions_and_heads_have_the_same_choice():
    network = NatureCNNConfig(
        name="x", kind="nature_cnn", hidden_sizes=[5], **tiny.INITIAL | {"init": "variance_scaling"}
    )
    nets = network.initialized(network.per_action(["one", "other"], Sizes((1, 36, 36), 6, 1.0)))
    for net in nets.values():
        for layer in (layer for layer in net.modules() if isinstance(layer, Layer)):
            bound = math.sqrt(math.sqrt(3) / layer.weight[0].numel())
            assert 0.9 * bound < layer.weight.abs().max() <= bound
            assert (layer.bias == 0).all()
    assert nets["one"].trunk is nets["other"].trunk
    assert not torch.equal(nets["one"].head.layers[0].weight, nets["other"].head.layers[0].weight)


@pytest.mark.parametrize("init", ["orthogonal", "variance_scaling", "fan_in"])
def test_each_critic_of_an_ensemble_is_drawn_as_one_alone(init: str):
    """Orthogonal weights have W W^T = 2 I; uniform ones keep the bound of one critic's inputs or outputs."""
    ensemble = EnsembleCritic(3, 6, 2, hidden_sizes=[5], activation="relu")
    initialize(ensemble, init, None)
    firsts = [critic.mlp.layers[0].weight for critic in ensemble.members()]
    assert not torch.equal(firsts[0], firsts[1])
    for weight in firsts:  # (5, 8)
        if init == "orthogonal":
            torch.testing.assert_close(weight @ weight.T, 2 * torch.eye(5))
        else:
            bound = math.sqrt(math.sqrt(3) / 8) if init == "variance_scaling" else 1 / math.sqrt(5)
            assert 0.5 * bound < weight.abs().max() <= bound
