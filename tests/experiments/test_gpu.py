"""The benchmark of a GPU: its check of results, and what it says without one."""

from dataclasses import replace

import pytest
import torch

from experiments.benchmark.agreement import difference
from experiments.benchmark.cases import CASES
from experiments.benchmark.gpu import main

CASE = replace(CASES["discrete-64"], num_rows=1000)


def test_the_same_numbers_in_float64_give_the_same_weights() -> None:
    assert difference(CASE, "cpu", torch.float64, "compile=never") < 1e-12


def test_rounding_and_another_update_are_told_from_each_other() -> None:
    """The check would be worthless if it did not see a wrong number."""
    rounded, wrong = (
        difference(CASE, "cpu", torch.float32, "compile=never", *typed) for typed in ((), ("algorithm.gamma=0.9",))
    )
    assert 0 < rounded < 1e-5
    assert wrong > 1e-3


def test_without_a_gpu_one_line_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr("sys.argv", ["gpu"])
    with pytest.raises(SystemExit, match=r"^torch .* finds no GPU here.*$"):
        main()
