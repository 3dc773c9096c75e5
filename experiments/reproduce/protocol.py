"""The protocol of a paper's table, read from its folder: what is trained, by which budget, and what must come out."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import product
from pathlib import Path
from typing import Any

import yaml

EXPERIMENTS = Path(__file__).parents[1]
FILE = "protocol.yaml"
BEHAVIOUR, RELATIONS = "behaviour", ("above", "below", "level")


@dataclass(frozen=True)
class Reference:
    """A column of published figures.

    Args:
        name: of the column.
        source, table, metric: as `reference_results.csv` has them.
    """

    name: str
    source: str
    table: str
    metric: str


@dataclass(frozen=True)
class Data:
    """A dataset of a table.

    Args:
        typed: words that choose it.
        env, published: its names in the published figures; several sources may have several.
    """

    typed: list[str]
    env: str = ""
    published: Collection[str] = ()


@dataclass(frozen=True)
class Learner:
    """What is trained on a dataset: an algorithm with its settings, or a sweep over keys, a row a setting.

    Args:
        typed: words that choose it.
        published: its names in the published figures.
        sweep: values by key; they are combined in full.
        same: rows whose setting is that of another learner's row, which trains it, by that row; of sweeps over one key.
        datasets: that it is for; empty: all.
        module: the entry point that trains it.
    """

    typed: list[str]
    published: Collection[str] = ()
    sweep: Mapping[str, list[Any]] = field(default_factory=dict)
    same: Mapping[str, str] = field(default_factory=dict)
    datasets: Collection[str] = ()
    module: str = "bcq_exp.train"

    def settings(self, name: str) -> dict[str, dict[str, Any]]:
        """The setting of each row, by the row's name: the learner's, or such as `lmbda=0.5`."""
        settings = [dict(zip(self.sweep, values, strict=True)) for values in product(*self.sweep.values())]
        return {self.row(name, setting): setting for setting in settings}

    def row(self, name: str, setting: Mapping[str, Any]) -> str:
        """The name of a setting's row; the setting may have other keys too."""
        return " ".join(f"{key.rpartition('.')[2]}={setting[key]}" for key in self.sweep) or name

    def trained(self, name: str) -> dict[str, dict[str, Any]]:
        """The settings that its sweep trains, by row: all without `same`."""
        return {row: setting for row, setting in self.settings(name).items() if row not in self.same}


@dataclass(frozen=True)
class Budget:
    """What one size of a protocol runs.

    Args:
        hours: expected on `machine`, stated before the run and corrected by it.
        seeds: number of them, from 0.
        typed: words of every command.
        datasets: names of the protocol's.
        algorithms: names of the protocol's learners.
        changes: what it does otherwise than the paper, in words.
        findings: what was looked into after the run, in Markdown.
        instead: words for a dataset or an algorithm in place of the protocol's, by name.
        machine: that the hours are of.
    """

    hours: float
    seeds: int
    typed: list[str]
    datasets: list[str]
    algorithms: list[str]
    changes: str
    findings: str = ""
    instead: Mapping[str, list[str]] = field(default_factory=dict)
    machine: str = "two cores"


@dataclass(frozen=True)
class Criterion:
    """What must come out on some datasets, on the scale of normalised scores (0: random play).

    Args:
        says: in words.
        datasets: that it is about.
        algorithm: the row whose score is judged: the mean over seeds of the last ten evaluations.
        relation: `above` share times the other's score, `below` it, or `level`: within `margin` points of it.
        other: a row, the behaviour, or a reference: what it holds for the same algorithm.
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
        references: columns of published figures; none where none are held.
        datasets: by name.
        algorithms: learners by name: the algorithm's, with a dash and a word behind it where there are several.
        budgets: by name.
        criteria: written before the runs.
    """

    name: str
    title: str
    about: str
    references: list[Reference]
    datasets: Mapping[str, Data]
    algorithms: Mapping[str, Learner]
    budgets: Mapping[str, Budget]
    criteria: list[Criterion]

    @property
    def folder(self) -> Path:
        """Where the protocol lies, and the results of its budgets."""
        return folder_of(self.name)

    def data(self, budget: Budget, dataset: str) -> Data:
        """A dataset as a budget has it."""
        data = self.datasets[dataset]
        return replace(data, typed=budget.instead.get(dataset, data.typed))

    def learners(self, budget: Budget, dataset: str) -> dict[str, Learner]:
        """What a budget trains on a dataset, by name; a row whose `same` row it does not train is trained."""
        if dataset not in budget.datasets:
            return {}
        chosen = {
            name: replace(learner, typed=budget.instead.get(name, learner.typed))
            for name, learner in self.algorithms.items()
            if name in budget.algorithms
        }
        chosen = {name: learner for name, learner in chosen.items() if dataset in (learner.datasets or [dataset])}
        trained = _trained(chosen)
        return {
            name: replace(learner, same={row: other for row, other in learner.same.items() if other in trained})
            for name, learner in chosen.items()
        }


def folder_of(name: str) -> Path:
    """The folder of a table."""
    return EXPERIMENTS / name.replace("-", "_")


def names() -> list[str]:
    """Every table that has a protocol."""
    return sorted(path.parent.name.replace("_", "-") for path in EXPERIMENTS.glob(f"*/{FILE}"))


def read_protocol(name: str) -> Protocol:
    """Read and check a protocol.

    Raises:
        ValueError: there is no such table, or a name in it is none of its datasets, algorithms or relations.
    """
    path = folder_of(name) / FILE
    if not path.is_file():
        raise ValueError(f"table={name}: there is none; allowed: {', '.join(names())}")
    content: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    budgets = {key: Budget(**_with_all(value, content)) for key, value in content.pop("budgets").items()}
    criteria = [Criterion(**value) for value in content.pop("criteria")]
    references = [Reference(**value) for value in content.pop("references", [])]
    datasets = {key: Data(**{"typed": [f"dataset={key}"], **value}) for key, value in content.pop("datasets").items()}
    algorithms = {key: Learner(**value) for key, value in content.pop("algorithms").items()}
    protocol = Protocol(
        name,
        **content,
        references=references,
        datasets=datasets,
        algorithms=algorithms,
        budgets=budgets,
        criteria=criteria,
    )
    if errors := list(_errors(protocol)):
        raise ValueError(f"{path}: " + "; ".join(errors))
    return protocol


def _with_all(budget: dict[str, Any], content: Mapping[str, Any]) -> dict[str, Any]:
    """The keys of a budget, with all datasets and algorithms where it names none."""
    return {"datasets": list(content["datasets"]), "algorithms": list(content["algorithms"]), **budget}


def _trained(learners: Mapping[str, Learner]) -> set[str]:
    """Names of the rows that the learners' own sweeps train."""
    return {row for name, learner in learners.items() for row in learner.trained(name)}


def _errors(protocol: Protocol) -> Iterator[str]:
    for key, budget in protocol.budgets.items():
        for part in ("datasets", "algorithms"):
            if unknown := set(getattr(budget, part)) - set(getattr(protocol, part)):
                yield f"budgets.{key}.{part} has {', '.join(sorted(unknown))}, which the protocol has not"
        if unknown := set(budget.instead) - {*protocol.datasets, *protocol.algorithms}:
            yield f"budgets.{key}.instead has {', '.join(sorted(unknown))}, which the protocol has not"
    rows = [row for name, learner in protocol.algorithms.items() for row in learner.settings(name)]
    trained = _trained(protocol.algorithms)
    if twice := {row for row in rows if rows.count(row) > 1}:
        yield f"two algorithms have rows of one name: {', '.join(sorted(twice))}"
    for name, learner in protocol.algorithms.items():
        if unknown := set(learner.datasets) - set(protocol.datasets):
            yield f"algorithms.{name}.datasets has {', '.join(sorted(unknown))}, which the protocol has not"
        if learner.same and len(learner.sweep) != 1:
            yield f"algorithms.{name}.same is for a sweep over one key; this one has {len(learner.sweep)}"
        if unknown := ({*learner.same} - {*learner.settings(name)}) | ({*learner.same.values()} - trained):
            yield f"algorithms.{name}.same has {', '.join(sorted(unknown))}, which no learner trains"
    for criterion in protocol.criteria:
        if unknown := set(criterion.datasets) - set(protocol.datasets):
            yield f"criterion «{criterion.says}»: unknown datasets {', '.join(sorted(unknown))}"
        others = {*rows, BEHAVIOUR, *(reference.name for reference in protocol.references)}
        if unknown := {criterion.algorithm} - {*rows} | {criterion.other} - others:
            yield f"criterion «{criterion.says}»: unknown algorithms {', '.join(sorted(unknown))}"
        if criterion.relation not in RELATIONS:
            yield f"criterion «{criterion.says}»: relation={criterion.relation}; allowed: {', '.join(RELATIONS)}"
