import math
from dataclasses import dataclass

import pytest

from bcq_exp.fields import Range, check_ranges, one_of, violations, within


@dataclass(kw_only=True)
class Config:
    free: str
    gamma: float = within(0, 1)
    tau: float = within(0, 1, is_low_open=True)
    num_steps: int = within(1)
    method: str | None = one_of("clip", "tanh")
    num_parts: int | None = within(1)


@pytest.mark.parametrize(
    ("allowed", "printed", "inside", "outside"),
    [
        (Range(0, 1), "[0, 1]", [0, 0.5, 1], [-1e-9, 1 + 1e-9, math.inf, math.nan]),
        (Range(0, 1, is_low_open=True), "(0, 1]", [1e-9, 1], [0, -1, 1 + 1e-9, math.nan]),
        (Range(1), "[1, inf)", [1, 1e300], [0, 0.999, -math.inf, math.inf, math.nan]),
        (Range(0, is_low_open=True), "(0, inf)", [1e-9, 7], [0, -7, math.inf]),
        (Range(-0.5, 2.5), "[-0.5, 2.5]", [-0.5, 2.5], [-0.51, 2.51]),
    ],
)
def test_range_prints_what_it_contains(allowed: Range, printed: str, inside: list[float], outside: list[float]) -> None:
    assert str(allowed) == printed
    assert [value for value in inside + outside if value in allowed] == inside


def test_each_violation_is_a_sentence_with_key_value_and_what_is_allowed() -> None:
    assert violations(Config, {"gamma": 1.5, "tau": 0, "num_steps": 0, "method": "sigmoid", "free": "x"}) == [
        "gamma=1.5 is outside [0, 1]",
        "tau=0 is outside (0, 1]",
        "num_steps=0 is outside [1, inf)",
        "method=sigmoid is none of clip, tanh",
    ]


def test_only_given_values_are_judged_and_null_is_a_choice() -> None:
    assert violations(Config, {"gamma": 1.0, "method": None, "num_parts": None, "unknown": -1}) == []


def test_all_violations_are_raised_at_once() -> None:
    check_ranges(Config, gamma=0, tau=1, num_steps=1, method="tanh")
    with pytest.raises(ValueError, match=r"^gamma=-1 is outside \[0, 1\]; tau=2 is outside \(0, 1\]$"):
        check_ranges(Config, gamma=-1, tau=2)


def test_schemas_hold_no_values() -> None:
    with pytest.raises(TypeError, match="missing 6 required keyword-only arguments"):
        Config()  # type: ignore[call-arg]


@pytest.mark.parametrize(("value", "is_allowed"), [(2, True), (2.5, False), ("2", False), (True, False), (None, False)])
def test_a_count_is_an_integer(value: object, is_allowed: bool):
    assert (violations(Config, {"num_steps": value}) == []) == is_allowed
    assert (violations(Config, {"num_parts": value}) == []) == (is_allowed or value is None)


@pytest.mark.parametrize(("value", "is_allowed"), [(0, True), (0.5, True), ("0.5", False), (float("nan"), False)])
def test_a_rate_is_a_number(value: object, is_allowed: bool):
    assert (violations(Config, {"gamma": value}) == []) == is_allowed
