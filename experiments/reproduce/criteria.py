"""Verdicts on what a paper claims."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from experiments.reproduce.figures import Published, Score
from experiments.reproduce.protocol import BEHAVIOUR, Criterion

REPRODUCED, NOT_REPRODUCED = "reproduced", "not reproduced"
NOT_RUN, NO_REFERENCE = "not run", "no reference"


@dataclass(frozen=True)
class Verdict:
    """What came out of a criterion on a dataset, with the two scores that were compared."""

    criterion: Criterion
    dataset: str
    outcome: str
    score: Score | None = None
    other: Score | None = None


def judge(
    criterion: Criterion,
    dataset: str,
    scores: Mapping[str, Score],
    rows: Collection[str],
    references: Mapping[str, Published | None],
) -> Verdict:
    """The verdict on one dataset.

    Args:
        criterion: about this dataset.
        dataset: its name.
        scores: by row, and of the behaviour.
        rows: that have been run on the dataset.
        references: what each holds for the criterion's algorithm, by name; None where it holds nothing.
    """
    if criterion.algorithm not in rows or criterion.other not in {*rows, BEHAVIOUR, *references}:
        return Verdict(criterion, dataset, NOT_RUN)
    if criterion.other in references:
        paper = references[criterion.other]
        if paper is None:
            return Verdict(criterion, dataset, NO_REFERENCE, scores.get(criterion.algorithm))
        scores = {**scores, criterion.other: Score(paper.mean, float("nan"), ())}
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
