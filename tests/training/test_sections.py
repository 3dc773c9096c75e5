from dataclasses import dataclass
from typing import Any

import pytest
from omegaconf import OmegaConf

from bcq_exp.fields import within
from bcq_exp.training.sections import Answers, leaves, plain, typed_section


@dataclass(kw_only=True)
class Small:
    """A schema."""

    word: str
    sizes: list[int] = within(1)
    anything: Any


def test_a_section_becomes_its_schema():
    errors: list[str] = []
    found = typed_section({"word": "a", "sizes": [1, 2], "anything": {"b": [None]}}, Small, "s.", errors)
    assert (found, errors) == (Small(word="a", sizes=[1, 2], anything={"b": [None]}), [])


def test_each_fault_is_a_line_with_its_key():
    errors: list[str] = []
    typed_section({"word": [None], "size": 1, "anything": {"b": ["???"]}}, Small, "s.", errors)
    assert [line.split(":")[0].split(" ")[0] for line in errors] == [
        "s.word=[None]",
        "s.size",
        "s.anything.b[0]",
        "s.sizes",
    ]
    assert "did you mean s.sizes?" in errors[1]
    assert errors[2:] == [
        "s.anything.b[0] has no value; give one: s.anything.b[0]=...",
        "s.sizes has no value; give one: s.sizes=...",
    ]
    for value in ([0], [1.5], [True], [2, -1]):
        errors = []
        typed_section({"word": "a", "sizes": value, "anything": 0}, Small, "", errors)
        assert len(errors) == 1, value
        assert errors[0].startswith("sizes=[")


def test_equal_values_are_looked_at_once_and_an_error_is_not_kept():
    answers, seen = Answers(), []

    def look(value: dict[str, Any]) -> list[Any]:
        seen.append(value)
        if value["a"] is None:
            raise ValueError
        return [value["a"]]

    values = [{"a": 1}, {"a": 1.0}, {"a": True}, {"a": "1"}]
    assert [answers.of(look, value) for value in values * 2] == [[value["a"]] for value in values] * 2
    assert answers.of(look, {"a": 1}) is answers.of(look, {"a": 1})
    for _ in range(2):
        with pytest.raises(ValueError):
            answers.of(look, {"a": None})
    assert seen == [*values, {"a": None}, {"a": None}]


def test_leaves_have_the_keys_that_are_typed():
    assert dict(leaves({"a": {"b": [1, {"c": 2}]}, "d": []})) == {"a.b[0]": 1, "a.b[1].c": 2}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"a": "${b}"}, "cannot be resolved: Interpolation key 'b' not found"),
        ({"a": "${oc.env:BCQ_EXP_ABSENT}"}, "cannot be resolved: .*BCQ_EXP_ABSENT"),
        ({"a": "${a}"}, "cannot be resolved"),
        ({"a": "${oc.env:BCQ_EXP_CANARY}"}, "a='.*' holds an interpolation after all others"),
    ],
)
def test_what_cannot_be_resolved_is_one_line(monkeypatch: pytest.MonkeyPatch, content: dict[str, Any], said: str):
    monkeypatch.setenv("BCQ_EXP_CANARY", "${oc.env:HOME}")
    with pytest.raises(ValueError, match=said) as raised:
        plain(OmegaConf.create(content))
    assert "\n" not in str(raised.value)
