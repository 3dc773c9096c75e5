"""Verdicts on what a paper claims."""

from collections.abc import Mapping
from dataclasses import dataclass

from experiments.reproduce.figures import Score
from experiments.reproduce.protocol import Budget, Criterion

REPRODUCED, NOT_REPRODUCED, NOT_RUN = "reproduced", "not reproduced", "not run at this budget"


@dataclass(frozen=True)
class Verdict:
    """What came out of a criterion on a dataset, with the two scores that were compared."""

    criterion: Criterion
    dataset: str
    outcome: str
    score: Score | None = None
    other: Score | None = None


def judge(criterion: Criterion, dataset: str, scores: Mapping[str, Score], budget: Budget) -> Verdict:
    """The verdict on one dataset.

    Args:
        criterion: about this dataset.
        dataset: its name.
        scores: by algorithm, and of the behaviour.
        budget: that was run.
    """
    ran = {*budget.algorithms, "behaviour"}
    if dataset not in budget.datasets or not {criterion.algorithm, criterion.other} <= ran:
        return Verdict(criterion, dataset, NOT_RUN)
    score, other = scores.get(criterion.algorithm), scores.get(criterion.other)
    if score is None or other is None:  # every run has failed
        return Verdict(criterion, dataset, NOT_REPRODUCED, score, other)
    bound = criterion.share * other.mean
    holds = {
        "above": score.mean >= bound,
        "below": score.mean < bound,
        "level": abs(score.mean - other.mean) <= criterion.margin,
    }[criterion.relation]
    return Verdict(criterion, dataset, REPRODUCED if holds else NOT_REPRODUCED, score, other)
