"""The protocol of a paper's table, read from its folder: what is trained, by which budget, and what must come out."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

EXPERIMENTS = Path(__file__).parents[1]
FILE = "protocol.yaml"
BEHAVIOUR, RELATIONS = "behaviour", ("above", "below", "level")


@dataclass(frozen=True)
class Budget:
    """What one size of a protocol runs.

    Args:
        hours: expected, on two cores, stated before the run.
        seeds: number of them, from 0.
        typed: words of every command.
        datasets: names of the protocol's.
        algorithms: names of the protocol's.
        changes: what it does otherwise than the paper, in words.
    """

    hours: float
    seeds: int
    typed: list[str]
    datasets: list[str]
    algorithms: list[str]
    changes: str


@dataclass(frozen=True)
class Criterion:
    """What must come out on some datasets, on the scale of normalised scores (0: random play).

    Args:
        says: in words.
        datasets: that it is about.
        algorithm: whose score is judged: the mean over seeds of the last ten evaluations.
        relation: `above` share times the other's score, `below` it, or `level`: within `margin` points of it.
        other: an algorithm, or the behaviour.
        share: of the other's score.
        margin: points, of level.
    """

    says: str
    datasets: list[str]
    algorithm: str
    relation: str
    other: str
    share: float = 1.0
    margin: float = 0.0


@dataclass(frozen=True)
class Protocol:
    """A table: `experiments/NAME/protocol.yaml`.

    Args:
        name: of the folder, with dashes.
        title: of the page.
        about: what the paper did, in Markdown, with sources.
        reference: `source` and `table` of the published figures, or empty where none are held.
        datasets: by name, with `typed` words of theirs, and their names in the published figures: `env`, `dataset`.
        algorithms: by name, with the `typed` words of each, and its name in the published figures: `reference`.
        budgets: by name.
        criteria: written before the runs.
    """

    name: str
    title: str
    about: str
    reference: Mapping[str, str]
    datasets: Mapping[str, Mapping[str, Any]]
    algorithms: Mapping[str, Mapping[str, Any]]
    budgets: Mapping[str, Budget]
    criteria: list[Criterion]


def names() -> list[str]:
    """Every table that has a protocol."""
    return sorted(path.parent.name.replace("_", "-") for path in EXPERIMENTS.glob(f"*/{FILE}"))


def read_protocol(name: str) -> Protocol:
    """Read and check a protocol.

    Raises:
        ValueError: there is no such table, or a name in it is none of its datasets, algorithms or relations.
    """
    path = EXPERIMENTS / name.replace("-", "_") / FILE
    if not path.is_file():
        raise ValueError(f"table={name}: there is none; allowed: {', '.join(names())}")
    content: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    budgets = {key: Budget(**_with_all(value, content)) for key, value in content.pop("budgets").items()}
    criteria = [Criterion(**value) for value in content.pop("criteria")]
    protocol = Protocol(name=name, budgets=budgets, criteria=criteria, **content)
    if errors := list(_errors(protocol)):
        raise ValueError(f"{path}: " + "; ".join(errors))
    return protocol


def _with_all(budget: dict[str, Any], content: Mapping[str, Any]) -> dict[str, Any]:
    """The keys of a budget, with all datasets and algorithms where it names none."""
    return {"datasets": list(content["datasets"]), "algorithms": list(content["algorithms"]), **budget}


def _errors(protocol: Protocol) -> Any:
    for key, budget in protocol.budgets.items():
        for part in ("datasets", "algorithms"):
            if unknown := set(getattr(budget, part)) - set(getattr(protocol, part)):
                yield f"budgets.{key}.{part} has {', '.join(sorted(unknown))}, which the protocol has not"
    for criterion in protocol.criteria:
        if unknown := set(criterion.datasets) - set(protocol.datasets):
            yield f"criterion «{criterion.says}»: unknown datasets {', '.join(sorted(unknown))}"
        if unknown := {criterion.algorithm, criterion.other} - {*protocol.algorithms, BEHAVIOUR}:
            yield f"criterion «{criterion.says}»: unknown algorithms {', '.join(sorted(unknown))}"
        if criterion.relation not in RELATIONS:
            yield f"criterion «{criterion.says}»: relation={criterion.relation}; allowed: {', '.join(RELATIONS)}"
