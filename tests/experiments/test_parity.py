"""Our updates against golden values of the authors' code."""

from dataclasses import replace

import pytest
import torch

from bcq_exp.algorithms import REGISTRY
from experiments.parity import golden
from experiments.parity.cases import CASES
from experiments.parity.golden import Golden, sources
from experiments.parity.replay import replay
from experiments.parity.report import compare, difference

COMPARED = [source for source in sources() if source.repository]


@pytest.mark.parametrize("source", COMPARED, ids=lambda source: source.case)
def test_ten_updates_are_those_of_the_reference(source: golden.Source) -> None:
    comparison = compare(source)
    assert comparison.is_equal, comparison.differences


def test_another_number_in_the_configuration_is_seen() -> None:
    values = Golden.of("td3_bc")
    other = replace(CASES["td3_bc"], overrides=(*CASES["td3_bc"].overrides, "algorithm.gamma=0.98"))
    ours = replay(other, values)
    assert difference(ours["loss/0/total"], values.results["loss/0/total"]) > 1e-3
    assert (
        difference(
            ours["weights/10/critic1/mlp.layers.0.weight"],
            Golden.of("td3_bc").results["weights/10/critic1/mlp.layers.0.weight"],
        )
        > 1e-6
    )


def test_a_step_that_only_one_side_makes_is_a_difference() -> None:
    assert difference(torch.tensor([1.0, torch.nan]), torch.tensor([1.0, 2.0])) == torch.inf


def test_a_missing_weight_is_named() -> None:
    values = Golden.of("ddpg")
    lost = "weights/0/actor/mlp.layers.0.bias"
    with pytest.raises(ValueError, match=r"actor/mlp\.layers\.0\.bias"):
        replay(CASES["ddpg"], Golden({key: value for key, value in values.tensors.items() if key != lost}))


def test_every_algorithm_has_golden_values_or_a_reason() -> None:
    assert {source.algorithm for source in sources()} == set(REGISTRY)
    assert {source.case for source in COMPARED} == CASES.keys() == {path.stem for path in golden.FOLDER.iterdir()}
    assert all(CASES[source.case].algorithm == source.algorithm for source in COMPARED)


def test_golden_values_change_under_the_updates() -> None:
    """Equal weights would say nothing where nothing is trained."""
    for case in CASES:
        values = Golden.of(case)
        start, end = values.under("weights/0"), values.under("weights/10")
        assert any(not torch.equal(start[key], end[key]) for key in start)
