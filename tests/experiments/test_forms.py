"""Forms of BCQ that are wrong on purpose: each is wrong in the one thing that it is for."""

import pytest
import torch

from bcq_exp.algorithms import REGISTRY, bcq
from bcq_exp.engine.population import Population
from bcq_exp.training.experiment import make_population
from cases import checked
from experiments.ablations.forms import FORMS, unperturbed_critic_loss
from populations import SMALL, random_walk, weights

UPDATES = 20


def population(monkeypatch: pytest.MonkeyPatch, name: str, *, lmbdas: tuple[float, ...]) -> Population:
    """Members of one seed that differ in `lmbda`, after some updates."""
    for form, definition in FORMS.items():
        monkeypatch.setitem(REGISTRY, form, definition)
    typed = ("algorithm=bcq", f"algorithm.name={name}", "dataset=pendulum-noisy", *SMALL)
    found = make_population(
        [checked(*typed, f"algorithm.lmbda={lmbda}") for lmbda in lmbdas], random_walk(5, is_discrete=False)
    )
    found.advance(UPDATES)
    return found


def test_target_of_the_unperturbed_form_leaves_the_perturbation_out() -> None:
    """One row with r = 1 and gamma = 0.5, sampled actions 0.1 and 0.4, xi' = 0.25, Q1' = Q2' = a and Q1 = Q2 = 0."""
    batch = {
        "obs": torch.zeros(1, 2), "act": torch.zeros(1, 1), "obs_next": torch.zeros(1, 2), "rew": torch.ones(1, 1),
        "num_steps": torch.ones(1, dtype=torch.int64), "terminated": torch.zeros(1, dtype=torch.bool),
    }  # fmt: skip
    noise, hp = {"latent": torch.tensor([[[0.1], [0.4]]])}, {"gamma": torch.tensor(0.5), "lmbda": torch.tensor(1.0)}
    zero = lambda obs, act: torch.zeros(len(obs))  # noqa: E731
    value = lambda obs, act: act.squeeze(-1)  # noqa: E731
    nets = {"decoder": lambda obs, latent: latent, "critic1": zero, "critic2": zero}
    targets = {"actor": lambda obs, act: act + 0.25, "critic1": value, "critic2": value}
    right, wrong = (
        float(loss(nets, targets, batch, noise, hp)[0]) for loss in (bcq.critic_loss, unperturbed_critic_loss)
    )
    assert right == pytest.approx(2 * (1 + 0.5 * (0.4 + 0.25)) ** 2)
    assert wrong == pytest.approx(2 * (1 + 0.5 * 0.4) ** 2)


def test_the_unperturbed_form_differs_from_bcq_in_the_loss_of_its_critics_alone() -> None:
    cfg = checked("algorithm=bcq", "dataset=pendulum-noisy").algorithm
    sizes = bcq.Sizes(obs_shape=(3,), act_dim=1, max_action=1.0)
    right, wrong = bcq.DEFINITION.build(cfg, sizes), FORMS["bcq_unperturbed"].build(cfg, sizes)
    losses = [(ours.loss, form.loss) for ours, form in zip(right.stages, wrong.stages, strict=True)]
    assert [form for ours, form in losses if ours != form] == [unperturbed_critic_loss]
    assert (right.targets, right.act, right.act_noise) == (wrong.targets, wrong.act, wrong.act_noise)


def test_equal_twins_stay_equal_bit_for_bit_and_double_q_does_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    first, last = population(monkeypatch, "bcq_equal_twins", lmbdas=(0.0, 1.0)).policies
    for nets in (first.nets, first.targets):
        for one, two in zip(nets["critic1"].parameters(), nets["critic2"].parameters(), strict=True):
            assert torch.equal(one, two)
    assert torch.equal(weights(first), weights(last))


def test_twins_of_bcq_differ_and_double_q_does_something(monkeypatch: pytest.MonkeyPatch) -> None:
    first, last = population(monkeypatch, "bcq", lmbdas=(0.0, 1.0)).policies
    pairs = zip(first.nets["critic1"].parameters(), first.nets["critic2"].parameters(), strict=True)
    assert not any(torch.equal(one, two) for one, two in pairs if one.dim() > 1)
    assert not torch.equal(weights(first), weights(last))


def test_the_product_does_not_know_the_forms() -> None:
    assert not FORMS.keys() & REGISTRY.keys()
