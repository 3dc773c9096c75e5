"""The runs that a workspace or a report of W&B is about."""

import argparse
import csv
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from bcq_exp.analysis.comparison import Comparison, Row, compare
from bcq_exp.analysis.results import Result, read_results
from bcq_exp.analysis.wandb_results import folder_of, read_wandb_results
from bcq_exp.io.source import CONF_DIR
from bcq_exp.training.logged import saved_labels

EXAMPLES = (
    "outputs/sweeps/threshold",
    "outputs/sweeps/threshold outputs/sweeps/baselines --baseline dqn",
    "--group threshold --entity ENTITY --project bcq_exp",
)  # of arguments that name a subject

Name = TypeVar("Name", str, str | None)


@dataclass(frozen=True)
class Subject:
    """Runs of one project in W&B.

    Args:
        title: names what they are.
        entity: the owner of the project; None: the user who is logged in.
        project: its name.
        groups: their groups in W&B.
        comparisons: their results, one a dataset.
        run_ids: W&B's id of each run, by the directory of its result.
        metrics: names of the metrics that they logged, in their order.
    """

    title: str
    entity: str | None
    project: str
    groups: Sequence[str]
    comparisons: Sequence[Comparison]
    run_ids: Mapping[Path, str]
    metrics: Sequence[str]

    def baseline(self, comparison: Comparison, name: str | None) -> Row:
        """The row that others are compared with.

        Args:
            comparison: of the row.
            name: its name, or an algorithm, whose best row it is; None: the best of all, as in the tables.

        Raises:
            ValueError: there is no such row.
        """
        found = [row for row in comparison.rows if row.finished and name in (None, row.name, row.algorithm)]
        if not found:
            names = ", ".join(row.name for row in comparison.rows if row.finished) or "none has finished"
            raise ValueError(f"--baseline {name}: no finished row of {comparison.dataset} has this name; rows: {names}")
        return found[0]

    def pinned(self, row: Row) -> str:
        """The id of the row's run whose final return is its median."""
        ordered = sorted(row.finished, key=lambda result: float(result.summary["final_return"]))
        return self.run_ids[ordered[(len(ordered) - 1) // 2].directory]

    def ids(self, comparison: Comparison) -> list[str]:
        """The ids of all runs of a comparison."""
        return [self.run_ids[result.directory] for row in comparison.rows for result in row.runs]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that name a subject."""
    parser.add_argument("directories", nargs="*", type=Path, metavar="DIR", help="a run or sweep directory")
    parser.add_argument("--group", action="append", default=[], help="a group in W&B, in place of directories")
    parser.add_argument("--entity", help="user or team in W&B; without it, the runs' own, or the user who is logged in")
    parser.add_argument("--project", help="project in W&B; without it, the runs' own")
    parser.add_argument(
        "--baseline",
        metavar="NAME",
        help="row of the table, or algorithm, that others are compared with; default: the best",
    )


def asked(options: argparse.Namespace) -> tuple[Subject, Path]:
    """The subject that the arguments name, and the folder of its files: the first directory, or one for the groups.

    Raises:
        ValueError: both or neither of directories and groups are there; a subject cannot be read.
    """
    if bool(options.directories) == bool(options.group):
        raise ValueError("give either directories of runs, or --group NAME with --entity and --project")
    if options.directories:
        return from_directories(options.directories, options), options.directories[0]
    if not options.entity or not options.project:
        raise ValueError(f"--group {options.group[0]} needs --entity and --project, in which the group is")
    subject = from_groups(options.group, options.entity, options.project)
    return subject, folder_of(options.entity, options.project, options.group)


def from_directories(directories: Sequence[Path], options: argparse.Namespace) -> Subject:
    """The runs below some directories.

    Args:
        directories: of runs or sweeps.
        options: the typed `entity` and `project`, of which each may be None.

    Raises:
        ValueError: no run has ended there, a run has none in W&B, or they are in several projects.
    """
    results = read_results(directories)
    labels, without = {}, []
    for result in results:
        if (kept := saved_labels(result.directory)) is None:
            without.append(result.directory)
        else:
            labels[result.directory] = kept
    if without:
        raise ValueError(
            f"{len(without)} of {len(results)} runs have no W&B run, the first is {without[0]};"
            f" bcq-dashboard sync {' '.join(map(str, directories))} makes and uploads them"
        )
    return Subject(
        title=", ".join(path.resolve().name for path in directories),
        entity=options.entity or _one("entity", (kept.entity for kept in labels.values())),
        project=options.project or _one("project", (kept.project for kept in labels.values())),
        groups=sorted({kept.group for kept in labels.values()}),
        comparisons=compare(results),
        run_ids={directory: kept.run_id for directory, kept in labels.items()},
        metrics=_logged(results),
    )


def from_groups(groups: Sequence[str], entity: str, project: str) -> Subject:
    """The runs of some groups in W&B.

    Raises:
        ValueError: they cannot be read, or none of them is of this code and has ended.
    """
    results = read_wandb_results(entity, project, groups)
    return Subject(
        title=", ".join(groups),
        entity=entity,
        project=project,
        groups=groups,
        comparisons=compare(results),
        run_ids={result.directory: result.directory.name for result in results},
        metrics=list(dict.fromkeys(name for result in results for name in result.summary if "/" in name)),
    )


def _one(key: str, names: Iterable[Name]) -> Name:
    """The name that all runs have."""
    different = set(names)
    if len(different) > 1:
        raise ValueError(f"the runs are in W&B under {key} {', '.join(sorted(map(str, different)))}; give --{key} NAME")
    (name,) = different
    return name


def _logged(results: Sequence[Result]) -> list[str]:
    """The columns of all `metrics.csv` together."""
    names: dict[str, None] = {}
    for result in results:
        with (result.directory / "metrics.csv").open(newline="", encoding="utf-8") as file:
            names |= dict.fromkeys(next(csv.reader(file), []))
    return [name for name in names if "/" in name]


def config_key(key: str) -> str:
    """The place of a typed key in the run's configuration, as W&B has it: a group's choice is under its `name`."""
    name = key.lstrip("+")
    return f"{name}.name" if (Path(CONF_DIR) / name).is_dir() else name
