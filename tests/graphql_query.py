"""The part of GraphQL that W&B's clients write: a query is parsed, and its fields are looked up in plain values."""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|\.\.\.|[$@]?\w+|-?\d+(?:\.\d+)?|[{}()\[\]:!=|&]')
VALUES = {"true": True, "false": False, "null": None}


class UnknownFieldError(LookupError):
    """A field that the values do not have."""


@dataclass
class Field:
    """A field as it was asked for: the key of its answer, its name, its arguments and the fields below it."""

    key: str
    name: str
    arguments: Mapping[str, Any]
    below: list[Any]  # of Field, or of names of fragments


class Query:
    """A GraphQL document of one operation.

    Args:
        text: the document.
        variables: the values of its variables.
    """

    def __init__(self, text: str, variables: Mapping[str, Any] | None) -> None:
        self._tokens = TOKEN.findall(re.sub(r"#[^\n]*", "", text))[::-1]
        self._variables = dict(variables or {})
        self._fragments: dict[str, list[Any]] = {}
        self.kind = self._next()  # `query` or `mutation`
        self.name = self._next() if self._ahead() not in "({" else ""
        if self._ahead() == "(":
            self._defaults()
        self._fields = self._selection()
        while self._tokens:
            assert self._next() == "fragment"
            name, _, _ = self._next(), self._next(), self._next()  # fragment NAME on TYPE
            self._fragments[name] = self._selection()

    def answer(self, root: Any) -> Any:
        """The fields that the query asks of `root`.

        Values are looked up by key in mappings; a function is called with the field's arguments.

        Raises:
            UnknownFieldError: a mapping has no such key.
        """
        return self._of(root, self._fields)

    def _of(self, value: Any, fields: list[Any]) -> Any:
        if value is None or not fields:
            return value
        if isinstance(value, list):
            return [self._of(each, fields) for each in value]
        found: dict[str, Any] = {}
        for field in fields:
            if isinstance(field, str):
                found |= self._of(value, self._fragments[field])
            elif field.name == "__typename":
                found[field.key] = value.get(field.name, "Thing")
            elif field.name not in value:
                raise UnknownFieldError(f"{self.name}: no field {field.name} in {sorted(value)}")
            else:
                below: Any = value[field.name]
                if isinstance(below, Callable):
                    below = below(**field.arguments)
                found[field.key] = self._of(below, field.below)
        return found

    def _ahead(self) -> str:
        return self._tokens[-1]

    def _next(self) -> str:
        return self._tokens.pop()

    def _is_next(self, token: str) -> bool:
        is_it = self._ahead() == token
        if is_it:
            self._next()
        return is_it

    def _defaults(self) -> None:
        assert self._next() == "("
        while not self._is_next(")"):
            name = self._next().removeprefix("$")
            assert self._next() == ":"
            while self._ahead() not in ("=", ")") and not self._ahead().startswith("$"):
                self._next()  # the type
            if self._is_next("="):
                default = self._value()
                if self._variables.get(name) is None:
                    self._variables[name] = default

    def _selection(self) -> list[Any]:
        assert self._next() == "{"
        fields: list[Any] = []
        while not self._is_next("}"):
            if self._is_next("..."):
                if self._is_next("on"):  # a fragment in its place: all types are one here
                    self._next()
                    fields += self._selection()
                else:
                    fields.append(self._next())
                continue
            key = name = self._next()
            if self._is_next(":"):
                name = self._next()
            arguments = {}
            if self._is_next("("):
                while not self._is_next(")"):
                    argument = self._next()
                    assert self._next() == ":"
                    arguments[argument] = self._value()
            is_asked = self._is_included()
            field = Field(key, name, arguments, self._selection() if self._ahead() == "{" else [])
            fields += [field] * is_asked
        return fields

    def _is_included(self) -> bool:
        """Whether the directive `@include(if: ...)` of a field, if it has one, lets it be asked."""
        if not self._is_next("@include"):
            return True
        assert [self._next(), self._next(), self._next()] == ["(", "if", ":"]
        is_asked = self._value()
        assert self._next() == ")"
        return bool(is_asked)

    def _value(self) -> Any:
        token = self._next()
        if token == "{":
            members = {}
            while not self._is_next("}"):
                name = self._next()
                assert self._next() == ":"
                members[name] = self._value()
            return members
        if token == "[":
            items = []
            while not self._is_next("]"):
                items.append(self._value())
            return items
        if token.startswith("$"):
            return self._variables.get(token[1:])
        if token in VALUES:
            return VALUES[token]
        return json.loads(token) if token[0] in '"-0123456789' else token  # the rest are names of an enumeration
