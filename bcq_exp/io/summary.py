"""`summary.json`, a run's final figures; a run has ended when this file is there and whole."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bcq_exp.io.files import read_json

SUMMARY = "summary.json"
Number = int | float
# Keys of every summary, with their types.
KEYS: dict[str, Any] = {
    "algorithm": str,
    "dataset": str,
    "env": str | None,
    "seed": int,
    "overrides": list,
    "behaviour_return": Number,
    "status": str,
    "num_updates": int,
    "final_return": Number | None,
    "final_normalized_score": Number | None,
    "updates_per_second": Number | None,
}

log = logging.getLogger(__name__)


class Damaged(ValueError):
    """What is wrong with a summary, without a remedy."""


def checked_summary(summary: dict[str, Any], source: str) -> dict[str, Any]:
    """The summary, as given.

    Args:
        summary: read from a file.
        source: what the error names.

    Raises:
        Damaged: a key is missing, or of another type.
    """
    if missing := [key for key in KEYS if key not in summary]:
        raise Damaged(f"{source} lacks {', '.join(missing)}")
    wrong = [key for key, kind in KEYS.items() if not isinstance(summary[key], kind) or isinstance(summary[key], bool)]
    if "overrides" not in wrong and not all(isinstance(word, str) for word in summary["overrides"]):
        wrong.append("overrides")
    if wrong:
        pairs = ", ".join(f"{key}={summary[key]!r}" for key in wrong)
        raise Damaged(f"{source} holds {pairs}")
    return summary


def final_figure(summary: Mapping[str, Any]) -> tuple[str, float] | None:
    """What a run is ranked by, in a word and a number: its final return, or the final estimate where it has none.

    Args:
        summary: of a run, be it of an earlier version.

    Returns:
        `return` or the estimator's name, and the figure; None where there is neither.
    """
    if summary["final_return"] is not None:
        return "return", float(summary["final_return"])
    if summary.get("final_estimate") is not None:
        return str(summary["final_estimator"]), float(summary["final_estimate"])
    return None


def read_summary(run_dir: Path) -> dict[str, Any]:
    """Read the summary of a run.

    Raises:
        ValueError: the file is damaged.
        OSError: there is no such file, or it cannot be read.
    """
    path, remedy = run_dir / SUMMARY, f"resume={run_dir} writes it anew from the last checkpoint"
    try:
        return checked_summary(read_json(path, remedy), str(path))
    except Damaged as damage:
        raise ValueError(f"{damage}, so it was damaged after it was written; {remedy}") from None


def has_ended(run_dir: Path) -> bool:
    """Whether a run has a summary; a damaged one does not count, with a warning."""
    if not (run_dir / SUMMARY).exists():
        return False
    try:
        read_summary(run_dir)
    except ValueError as error:
        log.warning("%s", error)
        return False
    return True
