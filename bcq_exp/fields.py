"""Ranges and choices of the fields of schemas: types and ranges, no values (those stand in `conf/`)."""

import math
import numbers
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from types import NoneType
from typing import Any, get_args


@dataclass(frozen=True)
class Range:
    """The numbers that a key may take, and words in place of one; an open end is not among them."""

    low: float
    high: float = math.inf
    is_low_open: bool = False
    words: tuple[str, ...] = ()

    def __contains__(self, value: float) -> bool:
        is_above = self.low < value if self.is_low_open else self.low <= value
        return is_above and value <= self.high and math.isfinite(value)

    def __str__(self) -> str:
        high = ", inf)" if self.high == math.inf else f", {self.high:g}]"
        return " or ".join([f"{'(' if self.is_low_open else '['}{self.low:g}{high}", *self.words])


NAME = re.compile(r"[A-Za-z0-9_+-][A-Za-z0-9._+-]{0,99}", re.ASCII)
NAME_RULE = "up to 100 letters, digits, `.`, `_`, `-` and `+`, no dot in front"


def named() -> Any:
    """A dataclass field without a value whose text must be a name: as part of a path it stays in its folder."""
    return field(metadata={"allowed": NAME})


def file_name(text: Any, max_length: int = 100) -> str:
    """The end of a text as a name: characters that a name does not allow become dashes."""
    return re.sub(r"[^A-Za-z0-9._+-]+", "-", str(text))[-max_length:].lstrip(".") or "-"


def within(low: float, high: float = math.inf, *, is_low_open: bool = False, words: tuple[str, ...] = ()) -> Any:
    """A dataclass field without a value whose number must lie in a range, unless it is one of the words."""
    return field(metadata={"allowed": Range(low, high, is_low_open, words)})


def one_of(*choices: str) -> Any:
    """A dataclass field without a value that must be one of the given words (or null, where its type says so)."""
    return field(metadata={"allowed": choices})


def violations(config: type[Any], values: Mapping[str, Any]) -> list[str]:
    """A sentence for each value that its field does not allow.

    Args:
        config: a dataclass whose fields were made by `within`, `one_of` and `named`; the range applies to each element
            of a list.
        values: by field name.
    """
    sentences = []
    for key, spec in ((spec.name, spec) for spec in fields(config) if spec.name in values):
        allowed, value = spec.metadata.get("allowed"), values[key]
        if value is None and NoneType in get_args(spec.type):
            continue
        if isinstance(allowed, Range) and value in allowed.words:
            continue
        if isinstance(allowed, Range) and isinstance(value, list):
            if not all(is_number(element, spec.type) and element in allowed for element in value):
                sentences.append(f"{key}={value} has elements outside {allowed}")
        elif isinstance(allowed, Range) and not is_number(value, spec.type):
            kind = "an integer" if is_integral(spec.type) else "a number"
            sentences.append(f"{key}={value!r} is not {kind} in {allowed}")
        elif isinstance(allowed, Range) and value not in allowed:
            sentences.append(f"{key}={value} is outside {allowed}")
        elif isinstance(allowed, re.Pattern) and not (isinstance(value, str) and allowed.fullmatch(value)):
            sentences.append(f"{key}={value!r} is no name; allowed: {NAME_RULE}")
        elif isinstance(allowed, tuple) and value not in allowed:
            sentences.append(f"{key}={value} is none of {', '.join(allowed)}")
    return sentences


def is_number(value: Any, kind: Any) -> bool:
    """Whether a value can stand in a field of that type, `int` or `float`, with or without `None`."""
    return isinstance(value, numbers.Integral if is_integral(kind) else numbers.Real) and not isinstance(value, bool)


def is_integral(kind: Any) -> bool:
    """Whether a field of that type holds integers."""
    return int in (kind, *get_args(kind))


def check_ranges(config: type[Any], **values: Any) -> None:
    """Raise ValueError with all violations at once."""
    if sentences := violations(config, values):
        raise ValueError("; ".join(sentences))
