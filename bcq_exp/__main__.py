"""The command `bcq`: `bcq COMMAND ...` does what `python -m bcq_exp.COMMAND ...` does.

Nothing heavy is imported before the command is known, nor for help and completion.
"""

import os
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path


@dataclass(frozen=True)
class Command:
    """A command, in the module of its name.

    Args:
        purpose: in a line of help.
        config_name: the file in `conf/` that Hydra composes for it; None where it takes words and flags of its own.
    """

    purpose: str
    config_name: str | None = None


COMMANDS = {
    "train": Command("train one run, or with -m a sweep", "config"),
    "collect": Command("make a dataset, train the agents for it, or inspect a file", "collect"),
    "evaluate": Command("play episodes of trained runs, or estimate returns from data", "evaluate"),
    "report": Command("tables, figures and a page of finished runs"),
    "dashboard": Command("workspace, report and upload in Weights & Biases"),
    "export": Command("write a trained policy as a file of its own", "export"),
}
COMPLETION = ("-sc", "--shell-completion")


def main() -> None:
    """Give the command that is typed, `bcq train`, or that the console script is named for, `bcq-train`."""
    if (own := Path(sys.argv[0]).stem.removeprefix("bcq-")) in COMMANDS:
        give(own)
    elif sys.argv[1:2] and sys.argv[1] in COMMANDS:
        sys.argv[:2] = [str(Path(sys.argv[0]).with_name(f"bcq-{sys.argv[1]}"))]
        give(sys.argv[0].rpartition("bcq-")[2])
    elif sys.argv[1:2] and sys.argv[1] in COMPLETION:
        complete(sys.argv[1:])
    elif sys.argv[1:] in ([], ["-h"], ["--help"]):
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # a reader that leaves early, as `head` does, ends it quietly
        print(overview())
    elif sys.argv[1:] == ["--version"]:
        print(f"bcq_exp {import_module('bcq_exp').__version__}")
    else:
        raise SystemExit(f"error: bcq {sys.argv[1]}: there is no such command; give one of {', '.join(COMMANDS)}")


def give(command: str) -> None:
    """Do what is typed after a command: `sys.argv` is as its console script gets it."""
    config_name = COMMANDS[command].config_name
    module = import_module("bcq_exp.command_line.composing") if config_name else None
    if module and module.FLAGS & {*sys.argv[1:]} and (sys.argv[1].startswith("-") or "=" in sys.argv[1]):
        module.compose_only(command, config_name)
    else:
        import_module(f"bcq_exp.{command}").main()


def complete(arguments: Sequence[str]) -> None:
    """Install completion in a shell, for `bcq`, or answer what the shell asks: a command, or what follows it."""
    line = os.environ.get("COMP_LINE", "")
    words = line.split()
    if not any(argument.startswith("query=") for argument in arguments):
        import_module("bcq_exp.command_line.composing").compose_only("train", "config")
    elif len(words) > 2 or (len(words) == 2 and line.endswith(" ")):
        if words[1] in COMMANDS and COMMANDS[words[1]].config_name:
            os.environ["COMP_LINE"] = f"bcq-{words[1]} " + line.partition(words[1])[2].lstrip()
            give(words[1])
    else:
        print(" ".join(COMMANDS))


def overview() -> str:
    """What `bcq --help` prints."""
    return "\n".join([
        "Offline reinforcement learning: BCQ and what it is compared with, trained from logged data.",
        "",
        "bcq COMMAND [...]",
        "",
        *(f"  {name:<10} {command.purpose}" for name, command in COMMANDS.items()),
        "",
        "  bcq train algorithm=bcq dataset=pendulum-noisy num_updates=20000",
        "  bcq train -m seed=0,1,2 algorithm.unlikely_action_threshold=0.1,0.3",
        "  bcq report outputs/sweeps",
        "",
        "bcq COMMAND --help says more. Read on: docs/command-line.md.",
    ])  # fmt: skip


if __name__ == "__main__":
    main()
