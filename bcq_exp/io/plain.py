"""YAML of plain values only, for files of run directories: reading one executes nothing.

A saved file may come from anywhere. Tags, aliases and text that OmegaConf would resolve are refused.
"""

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar

import yaml

MAX_BYTES = 200_000  # of a file; a run's configuration has about 3,000
REFERENCE = re.compile(r"\$\{([A-Za-z_]\w*(?:\.\w+)*)\}", re.ASCII)
CALL = re.compile(r"\$\{([A-Za-z_]\w*):((?:\$\{[\w.]+\})(?:,\$\{[\w.]+\})*)\}", re.ASCII)


class PlainLoader(yaml.SafeLoader):  # type: ignore[misc]
    """YAML without tags, aliases, dates and repeated keys; `1e-3` is a number, as OmegaConf reads it."""

    yaml_implicit_resolvers: ClassVar[dict[str, list[tuple[str, re.Pattern[str]]]]] = {
        first: [(tag, pattern) for tag, pattern in resolvers if not tag.endswith(":timestamp")]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def compose_node(self, parent: Any, index: Any) -> Any:
        """Compose a node; aliases are refused since nested ones grow without bound, tags since they name types."""
        event = self.peek_event()
        if isinstance(event, yaml.AliasEvent):
            raise yaml.MarkedYAMLError(None, None, f"the alias *{event.anchor} is no plain value", event.start_mark)
        if event.tag is not None:
            raise yaml.MarkedYAMLError(None, None, f"the tag {event.tag} is no plain value", event.start_mark)
        return super().compose_node(parent, index)

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        """Construct a mapping; a repeated key is an error."""
        mapping = super().construct_mapping(node, deep=deep)
        if len(mapping) < len(node.value):
            raise yaml.MarkedYAMLError(None, None, "a key stands there twice", node.start_mark)
        return mapping


PlainLoader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?\d[\d_]*\.?[\d_]*[eE][-+]?\d+\Z"), list("-+0123456789")
)


def read_yaml(path: Path) -> Any:
    """Read a file's plain values: dicts, lists, str, int, float, bool and None.

    Raises:
        ValueError: the file cannot be read, is damaged, or holds anything else; names the file and the line.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ValueError(f"{path.stat().st_size} bytes, more than the {MAX_BYTES} that such a file may have")
        return yaml.load(path.read_text(encoding="utf-8"), PlainLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        reason = f"{'' if mark is None else f'line {mark.line + 1}: '}{error.problem or error.context}"
    except OSError as error:
        reason = str(error.strerror)
    except RecursionError:
        reason = "nested too deeply"
    except (ValueError, OverflowError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
    raise ValueError(f"{path}: cannot be read, damaged or altered ({reason})")


def dereferenced(values: Any, path: Path, calls: Mapping[str, Callable[..., str]]) -> Any:
    """Replace each `${a.b}` by the plain value of that key of the same file.

    Args:
        values: as `read_yaml` returns them.
        path: the file, for messages.
        calls: functions that may be written as `${name:${a.b},${c}}`.

    Raises:
        ValueError: any other `${`; a resolver could read what does not belong to the file, such as the environment.
    """

    def value_of(text: str, key: str, name: str) -> Any:
        value = values
        for part in name.split("."):
            value = value.get(part) if isinstance(value, dict) else None
        if isinstance(value, dict | list) or "${" in str(value):
            raise refusal(text, key)
        return value

    def refusal(text: str, key: str) -> ValueError:
        return ValueError(
            f"{path}: {key} holds {text!r}, which is not resolved in a saved configuration: it could read what is not"
            " meant for it; write the value in its place"
        )

    def plain(node: Any, key: str) -> Any:
        if isinstance(node, dict):
            return {name: plain(value, f"{key}.{name}" if key else str(name)) for name, value in node.items()}
        if isinstance(node, list):
            return [plain(value, f"{key}[{number}]") for number, value in enumerate(node)]
        if not isinstance(node, str) or "${" not in node:
            return node
        if (whole := REFERENCE.fullmatch(node)) is not None:
            return value_of(node, key, whole[1])
        if (call := CALL.fullmatch(node)) is not None and call[1] in calls:
            return calls[call[1]](*(value_of(node, key, name) for name in REFERENCE.findall(call[2])))
        text = REFERENCE.sub(lambda match: str(value_of(node, key, match[1])), node)
        if "${" in text:
            raise refusal(node, key)
        return text

    return plain(values, "")
