"""Sections of a configuration as instances of their schemas, or a sentence for each error in them."""

import difflib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from bcq_exp.fields import violations
from bcq_exp.io.endings import first_line

MISSING = "???"

HINTS = {
    "output_activation": "Q values and logits are raw outputs: an activation would bound what the losses must reach",
    "softmax": "Q values and logits are raw outputs: an activation would bound what the losses must reach",
    "head": "a quantile head is the algorithm's: algorithm.num_quantiles=200 algorithm.clip_loss_grad=true",
    "_target_": "objects are built by name, never from a path in a file",
}


class Answers:
    """What was found for plain values: where many configurations are checked at once, equal sections are checked once.

    A dataset's files are looked at once, too, so the answers serve one start, and no later one.
    """

    def __init__(self) -> None:
        self.known: dict[str, Any] = {}

    def of(self, find: Callable[..., Any], *values: Any) -> Any:
        """What `find` returns for these values; what it raises is not kept."""
        key = f"{find.__qualname__}{values!r}"
        if key not in self.known:
            self.known[key] = find(*values)
        return self.known[key]


def plain(cfg: DictConfig) -> dict[str, Any]:
    """Resolve a composed configuration into plain values; keys without a value keep their `???`.

    Raises:
        ValueError: an interpolation cannot be resolved, or a resolved text still holds one.
    """
    try:
        values = OmegaConf.to_container(cfg, resolve=True)
    except OmegaConfBaseException as error:
        raise ValueError(f"the configuration cannot be resolved: {first_line(error)}") from None
    except RecursionError:
        raise ValueError("the configuration cannot be resolved: it is nested too deeply") from None
    if not isinstance(values, dict):
        raise ValueError("the configuration is no mapping of keys to values")
    for key, value in leaves(values):
        if isinstance(value, str) and "${" in value:
            raise ValueError(f"{key}={value!r} holds an interpolation after all others have been resolved")
    return {str(key): value for key, value in values.items()}


def leaves(values: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """Yield each innermost value with its key: `noise.high`, `hidden_sizes[0]`."""
    if isinstance(values, Mapping):
        for name, value in values.items():
            yield from leaves(value, f"{key}.{name}" if key else str(name))
    elif isinstance(values, list | tuple):
        for number, value in enumerate(values):
            yield from leaves(value, f"{key}[{number}]")
    else:
        yield key, values


def chosen_type(values: Mapping[str, Any], key: str, choices: Mapping[str, type[Any]], errors: list[str]) -> type[Any]:
    """The schema that a key `section.name` chooses; `object`, and an error, where the choice does not exist."""
    section, name = key.split(".")
    content = values.get(section)
    value = content.get(name) if isinstance(content, Mapping) else None
    if not isinstance(value, str) or value not in choices:
        errors.append(f"{key}={value} is none of {', '.join(choices)}")
        return object
    return choices[value]


def typed_section(section: Mapping[str, Any], schema: type[Any], prefix: str, errors: list[str]) -> Any:
    """Make an instance of the schema of a section; None, and errors, where the section does not fit.

    Args:
        section: plain values.
        schema: a dataclass.
        prefix: beginning of its keys in messages, such as `dataset.`.
        errors: the list that errors are added to.
    """
    num_errors = len(errors)
    known = {spec.name for spec in fields(schema)}
    typed = OmegaConf.structured(schema)
    OmegaConf.set_readonly(typed, False)  # frozen schemas too
    missing = known - set(map(str, section))
    for key, value in ((str(key), value) for key, value in section.items()):
        if key not in known:
            close = difflib.get_close_matches(key, known, n=1)
            hint = HINTS.get(key, f"did you mean {prefix}{close[0]}?" if close else f"known: {', '.join(known)}")
            errors.append(f"{prefix}{key} is not a key of {schema.__name__}; {hint}")
        elif inside := [name for name, leaf in leaves(value, key) if leaf == MISSING]:
            missing |= {*inside}
        else:
            try:
                typed[key] = value
            except (OmegaConfBaseException, TypeError, ValueError, OverflowError, RecursionError) as error:
                said = "must have a value" if value is None else first_line(error)
                errors.append(f"{prefix}{key}={'null' if value is None else value}: {said}")
    errors += [f"{prefix}{key} has no value; give one: {prefix}{key}=..." for key in sorted(missing)]
    if len(errors) > num_errors:
        return None
    instance = OmegaConf.to_object(typed)
    errors += [f"{prefix}{line}" for line in violations(schema, vars(instance))]
    return instance


def typed(section: Mapping[str, Any], schema: type[Any], prefix: str) -> tuple[Any, list[str]]:
    """The instance and the errors of `typed_section`."""
    errors: list[str] = []
    return typed_section(section, schema, prefix, errors), errors
