from pathlib import Path

import pytest

from bcq_exp.algorithms import REGISTRY
from mutations import MUTATIONS, Mutation, run


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.name)
def test_golden_tests_see(mutation: Mutation, tmp_path: Path) -> None:
    run(mutation, tmp_path)


def test_every_algorithm_of_the_registry_has_a_mutation_that_its_own_tests_see() -> None:
    tests = {test for mutation in MUTATIONS for test in mutation.tests}
    assert {name for name in REGISTRY if f"algorithms/test_{name}.py" not in tests} == set()
