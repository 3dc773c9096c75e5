"""Flags and words of a command: help in one form, and a line for what is wrong with them."""

import argparse
import difflib
from collections.abc import Sequence
from textwrap import indent
from typing import Any, NoReturn

# What argparse says, and how its sentence begins here.
MEANINGS = {
    "the following arguments are required: ": "missing: ",
    "unrecognized arguments: ": "one word too many, or apart from the others: ",
    "argument ": "",
}


class Parser(argparse.ArgumentParser):
    """A parser whose help has the form of `conf/hydra/help/`, and which answers a mistake with one line and code 1.

    Args:
        prog: the command as it is typed, `bcq report`.
        about: what it is for, a paragraph; what matters in the others.
        examples: words that may follow `prog`, an example each.
        read_on: the page that says more.
        lister: the flag that lists all flags.
        hint: what may be meant by a flag that does not exist.
        others: of `argparse.ArgumentParser`.
    """

    def __init__(
        self,
        prog: str,
        about: str | None = None,
        examples: Sequence[str] = (),
        read_on: str = "docs/command-line.md",
        *,
        lister: str = "--help",
        hint: str = "",
        **others: Any,
    ) -> None:
        super().__init__(prog, **others)
        self.color = False  # which Python has from 3.14 on, and `format_help` takes its text apart
        self._about, self._examples, self._read_on = about or "", examples, read_on
        self._lister, self._hint = f"{prog} {lister}", hint

    def parse_args(self, args: Sequence[str], namespace: None = None) -> argparse.Namespace:  # type: ignore[override]
        """Parse words. An unknown flag is named first, before a word that is missing.

        Raises:
            SystemExit: they are not as the command wants them.
        """
        flags = [*self._option_string_actions]
        names = [word.partition("=")[0] for word in args if word[:1] == "-" and word.strip("-")[:1].isalpha()]
        for name in names:
            if not any(flag.startswith(name) for flag in flags) and name[:2] not in flags:
                near = difflib.get_close_matches(name, flags, n=1)
                hints = [*(f"nearest: {flag}" for flag in near), *([self._hint] if self._hint else [])]
                said = "; ".join([f"{self.prog} has no such flag", *hints, f"{self._lister} lists its flags"])
                raise SystemExit(f"error: {name}: {said}")
        return super().parse_args(args, namespace)

    def error(self, message: str) -> NoReturn:
        """End the process with a line for what argparse says."""
        begin = next((words for words in MEANINGS if message.startswith(words)), "")
        said = MEANINGS.get(begin, "") + message.removeprefix(begin)
        raise SystemExit(f"error: {said}; {self._lister} says what it takes")

    def format_help(self) -> str:
        """What `--help` prints."""
        purpose, _, rest = self._about.strip().partition("\n\n")
        usage, _, listed = super().format_help().removeprefix("usage: ").partition("\n\n")
        usage = " ".join(usage.split())
        examples = indent("\n".join(f"{self.prog} {words}" for words in self._examples), "  ")
        return "\n\n".join([purpose, usage, examples, f"{rest}\nRead on: {self._read_on}.".strip(), listed])
