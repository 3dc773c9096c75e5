"""A list of kinds stands in its registry only: nowhere else is a kind told from another by its name or class."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

import bcq_exp
from bcq_exp.algorithms import REGISTRY
from bcq_exp.behaviours.agents import NOISES
from bcq_exp.behaviours.training import ALGORITHMS
from bcq_exp.engine.optim import DECAYS, OPTIMIZERS
from bcq_exp.io.loggers import LOGGERS
from bcq_exp.networks import NETWORKS
from bcq_exp.ope.estimators import ESTIMATORS
from bcq_exp.policy_files.formats import FORMATS
from bcq_exp.search.objectives import OBJECTIVES
from bcq_exp.search.pruning import PRUNINGS
from bcq_exp.search.samplers import SAMPLERS
from bcq_exp.sweeps.executors import EXECUTORS
from bcq_exp.training.datasets import DATASETS

PACKAGE = Path(bcq_exp.__file__).parent
TREES = {str(path.relative_to(PACKAGE)): ast.parse(path.read_text()) for path in sorted(PACKAGE.rglob("*.py"))}


@dataclass(frozen=True)
class Kinds:
    """The kinds of one thing.

    Args:
        registry: what lists them, as `FILE:NAME`, the file below `bcq_exp/`.
        names: of the kinds, as a user types them.
        classes: the classes of the kinds, where each has one.
    """

    registry: str
    names: frozenset[str]
    classes: frozenset[type] = frozenset()


KINDS = {
    "algorithm": Kinds(
        "algorithms/__init__.py:REGISTRY", frozenset(REGISTRY), frozenset(entry.config for entry in REGISTRY.values())
    ),
    "dataset": Kinds("training/datasets.py:DATASETS", frozenset(DATASETS), frozenset(DATASETS.values())),
    "network": Kinds("networks/__init__.py:NETWORKS", frozenset(NETWORKS), frozenset(NETWORKS.values())),
    "logger": Kinds("io/loggers/__init__.py:LOGGERS", frozenset(LOGGERS), frozenset(LOGGERS.values())),
    "estimator": Kinds("ope/estimators/__init__.py:ESTIMATORS", frozenset(ESTIMATORS), frozenset(ESTIMATORS.values())),
    "policy file": Kinds(
        "policy_files/formats/__init__.py:FORMATS",
        frozenset(FORMATS) - {"torch"},  # a package's name, too
        frozenset(FORMATS.values()),
    ),
    "optimizer": Kinds("engine/optim.py:OPTIMIZERS", frozenset(OPTIMIZERS), frozenset(OPTIMIZERS.values())),
    "decay": Kinds("engine/optim.py:DECAYS", frozenset(DECAYS)),
    "executor": Kinds("sweeps/executors/__init__.py:EXECUTORS", frozenset(EXECUTORS), frozenset(EXECUTORS.values())),
    "sampler": Kinds("search/samplers.py:SAMPLERS", frozenset(SAMPLERS)),
    "objective": Kinds("search/objectives.py:OBJECTIVES", frozenset(OBJECTIVES)),
    "pruning": Kinds("search/pruning.py:PRUNINGS", frozenset(PRUNINGS)),
    "noise": Kinds("behaviours/agents.py:NOISES", frozenset(NOISES), frozenset(NOISES.values())),
    "behaviour": Kinds("behaviours/training.py:ALGORITHMS", frozenset(ALGORITHMS)),
}


def texts(node: ast.AST | None) -> set[str]:
    """The strings that stand side by side in a collection or a call, keys where they have values; or a lone one."""
    match node:
        case ast.Dict():
            inside: list[ast.AST | None] = [*node.keys]
        case ast.List() | ast.Tuple() | ast.Set():
            inside = [*node.elts]
        case ast.Call():
            inside = [*node.args, *(ast.Constant(keyword.arg) for keyword in node.keywords)]
        case _:
            inside = [node]
    return {each.value for each in inside if isinstance(each, ast.Constant) and isinstance(each.value, str)}


def branch_classes(node: ast.Call) -> set[str]:
    """The names of the classes that `isinstance` or `issubclass` is called with."""
    if not (isinstance(node.func, ast.Name) and node.func.id in ("isinstance", "issubclass")):
        return set()
    parts = list(ast.walk(node.args[1]))
    return {part.id for part in parts if isinstance(part, ast.Name)} | {
        part.attr for part in parts if isinstance(part, ast.Attribute)
    }


def lists(tree: ast.AST, kinds: Kinds) -> Iterator[tuple[int, list[str]]]:
    """The line and the kinds of each list: two names in a collection or a call, one in a comparison or a match, a class
    in a branch."""
    names, classes = kinds.names, {kind.__name__ for kind in kinds.classes}
    asserted = {id(node.test) for node in ast.walk(tree) if isinstance(node, ast.Assert)}
    for node in ast.walk(tree):
        listed = set[str]()
        match node:
            case ast.Dict() | ast.List() | ast.Tuple() | ast.Set() | ast.Call():
                named = texts(node) & names
                listed = named if len(named) > 1 else set()
            case ast.Compare():
                listed = set[str]().union(*map(texts, [node.left, *node.comparators])) & names
            case ast.MatchValue():
                listed = texts(node.value) & names
        if isinstance(node, ast.Call) and id(node) not in asserted:
            listed |= branch_classes(node) & classes
        if listed:
            yield node.lineno, sorted(listed)


def definition(node: ast.stmt) -> str | None:
    """The name that a statement defines, if it is one."""
    match node:
        case ast.ClassDef(name=name):
            return name
        case ast.Assign(targets=[ast.Name(id=name)]) | ast.AnnAssign(target=ast.Name(id=name)):
            return name
    return None


@pytest.mark.parametrize("thing", KINDS)
def test_kinds_are_listed_in_their_registry_only(thing: str):
    """A kind's own file, which has its name or defines its class, may tell itself from others."""
    kinds = KINDS[thing]
    file, name = kinds.registry.split(":")
    elsewhere = []
    for place, tree in TREES.items():
        others = kinds
        if place == file:
            assert name in map(definition, tree.body)
            tree = ast.Module([node for node in tree.body if definition(node) != name])
        else:
            own = {definition(node) for node in tree.body}
            others = replace(
                kinds,
                names=kinds.names - {Path(place).stem},
                classes=frozenset(kind for kind in kinds.classes if kind.__name__ not in own),
            )
        elsewhere += [f"{place}:{line}: {listed}" for line, listed in lists(tree, others)]
    assert not elsewhere, "\n".join([f"kinds of {thing} are listed outside of {kinds.registry}", *elsewhere])


@pytest.mark.parametrize(
    "source",
    [
        'ALL = ("fqe", "dr")',
        'WEIGHTS = {"fqe": 1, "dr": 2}',
        'field = one_of("fqe", "dr")',
        "table = dict(fqe=1, dr=2)",
        'if name == "fqe": pass',
        'if name in ("fqe", "dr"): pass',
        'if "fqe" in asked: pass',
        'match name:\n    case "fqe": pass',
        "if isinstance(cfg, dict): pass",
        "if isinstance(cfg, list | schema.dict): pass",
    ],
)
def test_a_list_is_seen_in_every_form(source: str):
    kinds = Kinds("x.py", frozenset({"fqe", "dr"}), frozenset({dict}))
    assert len({line for line, _ in lists(ast.parse(source), kinds)}) == 1


@pytest.mark.parametrize(
    "source",
    ['name = "fqe"', 'table["fqe"]', 'texts = ("fqe", "other")', "assert isinstance(cfg, dict)", 'dict(fqe="dr")'],
)
def test_one_name_by_itself_is_no_list(source: str):
    kinds = Kinds("x.py", frozenset({"fqe", "dr"}), frozenset({dict}))
    assert list(lists(ast.parse(source), kinds)) == []
