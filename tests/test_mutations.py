from pathlib import Path

import pytest

from mutations import MUTATIONS, Mutation, run


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.name)
def test_golden_tests_see(mutation: Mutation, tmp_path: Path) -> None:
    run(mutation, tmp_path)
