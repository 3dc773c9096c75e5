"""Overrides: the words, `key=value`, that were typed for a run."""

from collections.abc import Iterable

# Beginnings of words that every table shows anyway, or that change no result.
SHOWN = ("seed=", "algorithm=", "dataset=", "experiment=", "hydra.", "resume=", "logger")


def own_settings(overrides: Iterable[str]) -> list[str]:
    """The words that set a run apart from others of its algorithm and dataset, whatever its seed."""
    return [word for word in overrides if not word.startswith(SHOWN)]
