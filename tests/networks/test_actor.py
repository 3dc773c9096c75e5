import pytest
import torch
from torch import nn

from bcq_exp.networks import Actor, Hidden, Perturbation

HIDDEN: Hidden = {"hidden_sizes": [16], "activation": "relu"}


def scatter(module: nn.Module) -> None:
    """Weights large enough for outputs to reach their bounds."""
    torch.manual_seed(0)
    for param in module.parameters():
        nn.init.normal_(param, std=2)


@pytest.fixture
def inputs() -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(1)
    return torch.randn(50, 3), torch.rand(50, 2) * 4 - 2  # actions within a bound of 2


def test_actor_is_a_scaled_tanh_of_its_mlp(inputs: tuple[torch.Tensor, torch.Tensor]) -> None:
    actor = Actor(3, 2, max_action=2.0, **HIDDEN)
    scatter(actor)
    act = actor(inputs[0])
    torch.testing.assert_close(act, 2 * torch.tanh(actor.mlp(inputs[0])))
    assert 1.99 < act.abs().max() <= 2


def test_perturbation_without_phi_is_the_identity_within_the_bounds(
    inputs: tuple[torch.Tensor, torch.Tensor],
) -> None:
    perturbation = Perturbation(3, 2, phi=0.0, max_action=2.0, **HIDDEN)
    scatter(perturbation)
    obs, act = inputs
    assert torch.equal(perturbation(obs, act), act)
    assert torch.equal(perturbation(obs, 3 * act), (3 * act).clamp(-2, 2))


def test_correction_reaches_but_never_exceeds_phi_times_the_bound(inputs: tuple[torch.Tensor, torch.Tensor]) -> None:
    perturbation = Perturbation(3, 2, phi=0.1, max_action=2.0, **HIDDEN)
    scatter(perturbation)
    obs, act = inputs
    perturbed = perturbation(obs, act)
    correction = (perturbed - act).abs()
    assert 0.19 < correction.max() <= 0.2 + 1e-6
    assert perturbed.abs().max() == 2  # some actions lie so near the bound that the clip acts
    inner = act.abs().amax(-1) < 1.8
    expected = act + 0.1 * 2 * torch.tanh(perturbation.mlp(torch.cat([obs, act], -1)))
    torch.testing.assert_close(perturbed[inner], expected[inner])


def test_each_row_is_perturbed_by_its_own_observation_and_action(inputs: tuple[torch.Tensor, torch.Tensor]) -> None:
    perturbation = Perturbation(3, 2, phi=0.5, max_action=2.0, **HIDDEN)
    scatter(perturbation)
    obs, act = inputs
    alone = torch.cat([perturbation(obs[i : i + 1], act[i : i + 1]) for i in range(len(obs))])
    torch.testing.assert_close(perturbation(obs, act), alone)
    assert (alone - act).std(0).min() > 0.1  # rows do differ: row 0 alone could not have made them all


def test_phi_is_a_buffer_of_its_own() -> None:
    perturbation = Perturbation(3, 2, phi=0.25, max_action=2.0, **HIDDEN)
    assert perturbation.state_dict()["phi"] == 0.25
    assert all(param is not perturbation.phi for param in perturbation.parameters())


@pytest.mark.parametrize("phi", [-0.01, 1.01, float("nan")])
def test_phi_outside_its_range_is_refused(phi: float) -> None:
    with pytest.raises(ValueError, match=rf"phi={phi} is outside \[0, 1\]"):
        Perturbation(3, 2, phi=phi, max_action=1.0, **HIDDEN)
