"""The reference of the configuration: every group, choice and key of `conf/`, with its value, comment and range.

A page a group, made of the YAML files and of the schemas that check them, at each build of the site.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from types import UnionType
from typing import Any, get_args

import yaml

from bcq_exp.algorithms import REGISTRY
from bcq_exp.behaviours.agents import NOISES
from bcq_exp.behaviours.training import BehaviourConfig, Seeds
from bcq_exp.engine.optim import OptimizerConfig, RoleConfig
from bcq_exp.fields import NAME_RULE, Range
from bcq_exp.io.loggers import LOGGERS
from bcq_exp.io.source import CONF_DIR
from bcq_exp.networks import NETWORKS
from bcq_exp.ope.estimators import ESTIMATORS
from bcq_exp.ope.schema import EvaluationConfig, TrainingEstimateConfig
from bcq_exp.policy_files.request import ExportConfig
from bcq_exp.training.config import ScheduleConfig
from bcq_exp.training.datasets import DATASETS

FOLDER = "configuration"
ENTRY_POINTS = {"config": "bcq-train", "collect": "bcq-collect", "evaluate": "bcq-evaluate", "export": "bcq-export"}

# The schemas of each section of a configuration; of a key the first that has it counts.
SECTIONS: dict[str, Sequence[type[Any]]] = {
    "algorithm": [entry.config for entry in REGISTRY.values()],
    "algorithm.optimizers": [RoleConfig],
    "network": list(NETWORKS.values()),
    "optimizer": [OptimizerConfig],
    "logger": list(LOGGERS.values()),
    "dataset": list(DATASETS.values()),
    "dataset.noise": list(NOISES.values()),
    "dataset.training": [BehaviourConfig],
    "behaviour": [BehaviourConfig],
    "eval_ope": [TrainingEstimateConfig, *ESTIMATORS.values()],
    "eval_ope.network": list(NETWORKS.values()),
    "eval_ope.optimizer": [OptimizerConfig],
    "config": [ScheduleConfig],
    "collect": [Seeds],
    "evaluate": [EvaluationConfig, *ESTIMATORS.values()],
    "export": [ExportConfig],
}
# The section that the files of a group fill; of others, that of their own name.
FILLED = {"preprocessing": "dataset", "protocol": "dataset", "estimation": "eval_ope"}
HELP = "hydra/help"  # texts of --help, no settings
GLOBAL = "# @package _global_"  # the keys of such a file begin at the top
# By which key a file says the kind that its section is of.
KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "algorithm": ("name", {name: entry.config for name, entry in REGISTRY.items()}),
    "network": ("kind", dict(NETWORKS)),
    "logger": ("name", dict(LOGGERS)),
    "dataset": ("format", dict(DATASETS)),
}


@dataclass(frozen=True)
class Key:
    """A key of a YAML file.

    Args:
        name: with dots, from the top of the file.
        value: as it is written.
        comment: behind it.
        above: the comment in the lines above it, which is of the keys that follow too.
    """

    name: str
    value: str
    comment: str
    above: str


def pages() -> dict[str, str]:
    """The text of each page by its place in the site; the overview is the first."""
    conf = Path(CONF_DIR)
    groups: dict[str, list[Path]] = {}
    for path in sorted(conf.rglob("*.yaml")):
        if path.parent == conf / HELP:
            continue
        group = path.relative_to(conf).parent.as_posix()
        groups.setdefault(group, []).append(path)
    tops = {path.stem: path for path in groups.pop(".")}
    made = {f"{FOLDER}/index.md": overview(tops, groups)}
    for group, paths in groups.items():
        text = f"# `{group}=`\n\n" + "\n".join(choice(path, group) for path in paths)
        made[f"{FOLDER}/{page_name(group)}"] = text
    return made


def page_name(group: str) -> str:
    """The file of a group's page."""
    return group.replace("/", "-") + ".md"


def overview(tops: dict[str, Path], groups: dict[str, list[Path]]) -> str:
    """The keys of the entry points, and the groups."""
    lines = [
        "# Configuration",
        "",
        "Every value that a run uses stands in a file of `conf/`. A command chooses a file of each group (`GROUP=NAME`)"
        " and sets keys (`GROUP.KEY=VALUE`, or `KEY=VALUE` of the tables on this page). A key that does not exist, a"
        " value of the wrong type and a number outside its range end the command before any work starts.",
        "",
        "These pages are made of those files and of the schemas that check them.",
        "",
        "## Groups",
        "",
        "| group | choices |",
        "| --- | --- |",
    ]
    for group, paths in groups.items():
        lines.append(f"| [`{group}=`]({page_name(group)}) | {', '.join(f'`{path.stem}`' for path in paths)} |")
    parts = ["\n".join(lines) + "\n"]
    for stem in ENTRY_POINTS:
        parts.append(section(f"## `{ENTRY_POINTS[stem]}`", tops[stem], stem))
    return "\n".join(parts)


def choice(path: Path, group: str) -> str:
    """A choice of a group."""
    return section(f"## `{path.stem}`", path, group)


def section(heading: str, path: Path, place: str) -> str:
    """The head of a file as a paragraph, what it is built on, and its keys in tables."""
    text = path.read_text(encoding="utf-8")
    head, defaults, keys = read(text)
    is_global = text.startswith(GLOBAL)
    lines = [heading, "", escaped(head), ""]
    if defaults:
        lines += [f"Built on {', '.join(f'`{each}`' for each in defaults)}.", ""]
    previous: str | None = None
    for key in keys:
        if previous is None or (key.above and key.above != previous):
            lines += [""] + ([escaped(key.above), ""] if key.above else [])
            lines += ["| key | value | allowed | meaning |", "| --- | --- | --- | --- |"]
            previous = key.above
        where = key.name if is_global or place in ENTRY_POINTS else f"{FILLED.get(place, place)}.{key.name}"
        cells = [f"`{key.name}`", f"`{key.value}`", allowed(where, place, keys), escaped(key.comment)]
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines) + "\n"


def read(text: str) -> tuple[str, list[str], list[Key]]:
    """The comment at the head of a YAML file, its defaults in words, and its keys in order."""
    lines = text.splitlines()
    begin = 1 if text.startswith(GLOBAL) else 0
    end = next((n for n in range(begin, len(lines)) if not lines[n].startswith("#")), len(lines))
    head = sentence(lines[begin:end])
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    content = yaml.safe_load(text) or {}
    defaults = [words(each) for each in content.get("defaults", []) if each != "_self_"]
    keys = []
    for name, key, node in leaves(root, ""):
        if name.partition(".")[0] in ("defaults", "hydra") and not name.startswith("hydra.sweeper"):
            continue
        keys.append(Key(name, value_text(text, node), comment_behind(lines, key), comment_above(lines, key, end)))
    return head, defaults, carried(keys)


def carried(keys: list[Key]) -> list[Key]:
    """The same keys; one without a comment above has that of the key before."""
    found, above = [], ""
    for key in keys:
        above = key.above or above
        found.append(Key(key.name, key.value, key.comment, above))
    return found


def words(default: Any) -> str:
    """An entry of a defaults list, as it is typed."""
    if isinstance(default, str):
        return default
    return ", ".join(f"{key}: {'null' if value is None else value}" for key, value in default.items())


def leaves(node: yaml.Node, prefix: str) -> Iterator[tuple[str, yaml.Node, yaml.Node]]:
    """Yield each innermost key with its node and that of its value; a mapping in braces is one, but for a role's."""
    if not isinstance(node, yaml.MappingNode):
        return
    for key, value in node.value:
        name = f"{prefix}{key.value}"
        is_value = isinstance(value, yaml.MappingNode) and value.flow_style and "optimizers" not in prefix
        if isinstance(value, yaml.MappingNode) and value.value and not is_value:
            yield from leaves(value, f"{name}.")
        else:
            yield name, key, value


def value_text(text: str, node: yaml.Node) -> str:
    """A value as it is written, in one line."""
    if isinstance(node, yaml.SequenceNode) and not node.flow_style:
        return "[" + ", ".join(value_text(text, each) for each in node.value) + "]"
    raw = text[node.start_mark.index : node.end_mark.index]
    return re.sub(r"\s+", " ", re.sub(r"^&\w+ ", "", raw)).strip() or "null"


def comment_behind(lines: Sequence[str], key: yaml.Node) -> str:
    """The comment behind a key's value."""
    found = re.search(r"\s#\s?(.*)$", lines[key.start_mark.line])
    return found.group(1).strip() if found else ""


def comment_above(lines: Sequence[str], key: yaml.Node, head_end: int) -> str:
    """The comment in the lines above a key, but for the head of the file."""
    found, number = [], key.start_mark.line - 1
    while number >= head_end and lines[number].strip().startswith("#"):
        found.insert(0, lines[number].strip())
        number -= 1
    return sentence(found)


def sentence(lines: Sequence[str]) -> str:
    """Lines of a comment as one paragraph."""
    return " ".join(line.strip().removeprefix("#").strip() for line in lines)


def escaped(text: str) -> str:
    """A comment as Markdown: words in capitals and brackets stay as they are."""
    return re.sub(r"(?<!`)([\[\]<>*_])(?!`)", r"\\\1", text) if "`" not in text else text


def allowed(where: str, place: str, keys: Sequence[Key]) -> str:
    """What a key may be, by the schema of its section."""
    parts = where.split(".")
    name, over = parts[-1], ".".join(parts[:-1])
    if over.startswith("algorithm.optimizers"):
        over, name = "algorithm.optimizers", parts[-1]
    schemas = list(SECTIONS.get(over or (place if place in ENTRY_POINTS else "config"), ()))
    if over in KINDS:
        key, kinds = KINDS[over]
        chosen = next((each.value for each in keys if each.name in (key, f"{over}.{key}")), None)
        schemas = [kinds[chosen], *schemas] if chosen in kinds else schemas
    for schema in schemas:
        for spec in fields(schema):
            if spec.name == name:
                return rule(spec.type, spec.metadata.get("allowed"))
    return ""


def rule(kind: Any, limit: Any) -> str:
    """A field's type and range in words."""
    null = " or null" if isinstance(kind, UnionType) and type(None) in get_args(kind) else ""
    if isinstance(limit, tuple):
        return ", ".join(f"`{each}`" for each in limit) + null
    if isinstance(limit, re.Pattern):
        return NAME_RULE
    kinds = [each for each in get_args(kind) if each is not type(None)] if isinstance(kind, UnionType) else [kind]
    text = KIND_WORDS.get(kinds[0], str(kinds[0]).replace("typing.", "")) if kinds else ""
    return f"{text}{f' in {limit}' if isinstance(limit, Range) else ''}{null}"


KIND_WORDS = {
    int: "integer",
    float: "number",
    bool: "`true` or `false`",
    str: "text",
    list[int]: "integers",
    list[str]: "texts",
    tuple[float, float]: "two numbers",
    dict[str, Any]: "mapping",
    dict[str, float | None]: "mapping of names to numbers or null",
    Any: "see the comment",
}
