"""How two configurations, or the code that made two runs, differ, in words."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

MOST = 12  # differences that one message lists


def flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested keys joined by dots."""
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        flat |= flatten(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return flat


def differing(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """The keys of two flat configurations whose values differ, or that one of them lacks."""
    return [key for key in {**before, **now} if before.get(key) != now.get(key)]


def difference(key: str, before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """How a key of two flat configurations differs, in words."""
    return f"{key}: {before.get(key, 'absent')} before, {now.get(key, 'absent')} now"


def code_difference(before: str, now: str) -> str:
    """How the digest of the code differs, in words, and what lets other code go on."""
    return f"the code has changed: {before[:12]} before, {now[:12]} now; allow_code_change=true goes on all the same"


def refusal(differences: Mapping[Path, Sequence[str]], remedy: str) -> ValueError:
    """One message for all that keeps runs from going on in directories that exist.

    Args:
        differences: what differs, a line each, by directory; at least one.
        remedy: how to begin anew.
    """
    first, *others = differences
    place = f"{first} and {len(others)} more hold other runs" if others else f"{first} holds another run"
    lines = list(dict.fromkeys(line for found in differences.values() for line in found))
    if len(lines) > MOST:
        lines = [*lines[:MOST], f"and {len(lines) - MOST} more"]
    return ValueError("\n  ".join([f"{place} than what is asked for:", *lines]) + f"\n{remedy}")
