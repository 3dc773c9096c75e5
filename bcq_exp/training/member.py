"""A run as a member of a population: its directory, the weights under evaluation and its logger."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch

from bcq_exp.algorithms.form import Tensors
from bcq_exp.io.loggers.form import Logger

RETURN, ESTIMATE = "eval/return", "eval/estimate"


class Diagnosis(Protocol):
    """Diagnoses current weights on a fixed sample of rows."""

    @property
    def names(self) -> Sequence[str]:
        """Of what it finds."""

    def __call__(self) -> Tensors:
        """Figures by name, 0-d; does not wait for the device."""


def judged_by(evaluation: Mapping[str, float]) -> float | None:
    """What members are compared by: the mean return of an evaluation, or where none was played its estimate."""
    return evaluation.get(RETURN, evaluation.get(ESTIMATE))


@dataclass
class Member:
    """One run of a population, with all that is its own but its weights.

    Args:
        run_dir: of `metrics.csv`, `summary.json` and `checkpoints/`.
        facts: what identifies the run, the first keys of `summary.json`.
        copy_weights: copies the current weights to where evaluations read them.
        weights: reads the weights that are being evaluated, for a checkpoint.
        give_weights: restores such weights from a checkpoint.
        diagnoses: of the current weights, by the first part of their figures' names.
        logger: sink of metrics besides `metrics.csv`.
        release: unlocks `run_dir`; called at the end.
        last_evaluation: metrics of the last evaluation, empty before the first.
        pruned_at: the update after which it was stopped as not worth going on; None where it was not.
        diagnosed: the diagnostics of the weights under evaluation.
    """

    run_dir: Path
    facts: Mapping[str, Any]
    copy_weights: Callable[[], object]
    weights: Callable[[], Mapping[str, Any]]
    give_weights: Callable[[Mapping[str, Any]], object]
    diagnoses: Mapping[str, Diagnosis]
    logger: Logger
    release: Callable[[], object]
    last_evaluation: dict[str, float] = field(default_factory=dict)
    pruned_at: int | None = None
    diagnosed: Tensors = field(default_factory=dict)

    @property
    def diagnosed_names(self) -> list[str]:
        """Names of what the diagnoses find."""
        return [f"{part}/{name}" for part, diagnosis in self.diagnoses.items() for name in diagnosis.names]

    def take_weights(self) -> None:
        """Take the current weights for an evaluation, and diagnose them; does not wait for the device."""
        self.copy_weights()
        self.diagnosed = {
            f"{part}/{name}": value for part, diagnosis in self.diagnoses.items() for name, value in diagnosis().items()
        }

    def under_evaluation(self) -> dict[str, Any]:
        """The weights that are being evaluated and their diagnostics, for a checkpoint."""
        return {"weights": self.weights(), "diagnosed": self.diagnosed}

    def evaluate_again(self, state: Mapping[str, Any]) -> None:
        """Restore what was `under_evaluation` at a checkpoint."""
        self.give_weights(state["weights"])
        self.diagnosed = state["diagnosed"]

    def take_evaluation(self, evaluation: Mapping[str, float]) -> dict[str, float]:
        """Keep an evaluation as the last one; its metrics, and the diagnostics of the weights that it evaluated."""
        self.last_evaluation = dict(evaluation)
        values = torch.stack(list(self.diagnosed.values())).tolist() if self.diagnosed else []
        return {**evaluation, **dict(zip(self.diagnosed, values, strict=True))}

    def summary(self, num_updates: int, failed_at: int | None) -> dict[str, Any]:
        """What identifies the run, how it ended and its last evaluation, for `summary.json`.

        Args:
            num_updates: of the population, which a member that was pruned has not made.
            failed_at: the update whose loss was not finite; None where all were.
        """
        is_pruned = self.pruned_at is not None
        return {
            **self.facts,
            "status": "pruned" if is_pruned else "finished" if failed_at is None else "failed",
            "failed_at": failed_at,
            **({"pruned_at": self.pruned_at} if is_pruned else {}),
            "num_updates": self.pruned_at if is_pruned else num_updates,
            "final_return": self.last_evaluation.get(RETURN),
            "final_return_std": self.last_evaluation.get("eval/return_std"),
            "final_normalized_score": self.last_evaluation.get("eval/normalized_score"),
            "final_cut_episodes": self.last_evaluation.get("eval/cut_episodes", 0),
            "final_estimate": self.last_evaluation.get(ESTIMATE),
        }
