"""Our updates against golden values of the authors' code."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from bcq_exp.algorithms import REGISTRY
from experiments.parity import golden
from experiments.parity.cases import CASES
from experiments.parity.golden import COMPARED_AFTER, Golden, sources
from experiments.parity.replay import replay
from experiments.parity.report import Comparison, compare, difference

COMPARED = [source for source in sources() if source.repository]
RESULTS = Path(golden.__file__).parents[1] / "results" / "parity.md"


@pytest.mark.parametrize("source", COMPARED, ids=lambda source: source.case)
def test_ten_updates_are_those_of_the_reference(source: golden.Source) -> None:
    comparison = compare(source)
    assert comparison.is_equal, comparison.differences


def test_another_number_in_the_configuration_is_seen() -> None:
    values, case = Golden.of("td3_bc"), CASES["td3_bc"]
    ours = replay(replace(case, overrides=(*case.overrides, "algorithm.gamma=0.98")), values)
    assert difference(ours["loss/0/total"], values.results["loss/0/total"]) > 1e-3
    last = "weights/10/critic1/mlp.layers.0.weight"
    assert difference(ours[last], values.results[last]) > 1e-6


def test_a_step_that_only_one_side_makes_is_a_difference() -> None:
    assert difference(torch.tensor([1.0, torch.nan]), torch.tensor([1.0, 2.0])) == torch.inf


@pytest.mark.parametrize("far", [1e-10, float("nan"), float("inf")])
def test_a_criterion_holds_only_where_all_differences_are_below_it(far: float) -> None:
    near = {(kind, num): 9e-11 for kind in ("loss", "weights", "targets") for num in COMPARED_AFTER}
    assert Comparison(COMPARED[0], torch.float64, near).is_equal
    assert not Comparison(COMPARED[0], torch.float64, {**near, ("targets", 10): far}).is_equal


def test_in_float32_one_update_counts() -> None:
    found = {("loss", 1): 9e-6, ("weights", 1): 9e-6, ("weights", 10): 1e-3}
    assert Comparison(COMPARED[0], torch.float32, found).is_equal
    assert not Comparison(COMPARED[0], torch.float32, {**found, ("loss", 1): 1e-5}).is_equal


@pytest.mark.parametrize("lost", ["weights/0/actor/mlp.layers.0.bias", "noise/0/eps"])
def test_a_missing_tensor_is_named(lost: str) -> None:
    tensors = {key: value for key, value in Golden.of("td3").tensors.items() if key != lost}
    with pytest.raises(ValueError, match=re.escape(lost.split("/0/")[-1])):
        replay(CASES["td3"], Golden(tensors))


def test_every_algorithm_has_golden_values_or_a_reason() -> None:
    assert {source.algorithm for source in sources()} == set(REGISTRY)
    assert {source.case for source in COMPARED} == CASES.keys() == {path.stem for path in golden.FOLDER.iterdir()}
    assert all(CASES[source.case].algorithm == source.algorithm for source in COMPARED)
    assert all(source.departures for source in sources() if not source.repository)


@pytest.mark.parametrize("case", CASES)
def test_golden_values_are_numbers_that_change_under_the_updates(case: str) -> None:
    """Equal weights would say nothing where nothing is trained, and equal losses nothing where none is stated."""
    values = Golden.of(case)
    start, end = values.under("weights/0"), values.under("weights/10")
    assert start.keys() == end.keys()
    assert any(not torch.equal(start[key], end[key]) for key in start)
    assert all(tensor.isfinite().all() for key, tensor in values.tensors.items() if not key.startswith("loss/"))
    assert any(loss.isfinite().any() for loss in values.under("loss").values())


def test_the_committed_table_has_every_case() -> None:
    rows = re.findall(r"^\| (\w+) \| .* \| (equal|differs) \|$", RESULTS.read_text(), re.MULTILINE)
    assert [case for case, _ in rows] == [source.case for source in COMPARED]
    assert {verdict for _, verdict in rows} == {"equal"}
