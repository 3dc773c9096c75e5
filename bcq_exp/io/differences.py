"""Differences between two configurations, or between the code of two runs, in words."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

MOST = 12  # differences that one message lists
NOT_SET = "not set"  # in place of the value of a key that a configuration lacks


def flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """A nested mapping as a flat one, whose keys are joined by dots."""
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        flat |= flatten(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return flat


def differing(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Keys that differ between two flat configurations, or that one of them lacks."""
    return [key for key in {**before, **now} if before.get(key) != now.get(key)]


def difference(key: str, before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """The difference of a key between two flat configurations, in words."""
    return f"{key}: {before.get(key, NOT_SET)} before, {now.get(key, NOT_SET)} now"


def code_difference(before: str, now: str) -> str:
    """The difference of two digests of code in words, with the key that allows other code to resume."""
    return f"the code has changed: {before[:12]} before, {now[:12]} now; allow_code_change=true goes on all the same"


def refusal(differences: Mapping[Path, Sequence[str]], remedy: str) -> ValueError:
    """One error for all the reasons why runs cannot resume in their directories.

    Args:
        differences: lines by directory, at least one.
        remedy: how to begin anew, the end of the message.
    """
    first, *others = differences
    place = f"{first} and {len(others)} more hold other runs" if others else f"{first} holds another run"
    lines = list(dict.fromkeys(line for reasons in differences.values() for line in reasons))
    if len(lines) > MOST:
        lines = [*lines[:MOST], f"and {len(lines) - MOST} more"]
    return ValueError("\n  ".join([f"{place} than what is asked for:", *lines]) + f"\n{remedy}")
