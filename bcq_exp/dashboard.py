"""Show trained runs in Weights & Biases: upload them, and make a workspace or a report of them."""

import sys

from bcq_exp.dashboards import report, sync, workspace
from bcq_exp.io.arguments import Parser
from bcq_exp.io.endings import in_one_line, mistakes_in_one_line

# A module each: its docstring is the help, beside `EXAMPLES`, `add_arguments` and `run`.
COMMANDS = {"sync": sync, "workspace": workspace, "report": report}
PAGE = "docs/wandb.md"


def parser() -> Parser:
    """What stands in front: a command."""
    said = [f"{name:<10} {(command.__doc__ or '').partition(chr(10))[0]}" for name, command in COMMANDS.items()]
    examples = [f"{name} {command.EXAMPLES[0]}" for name, command in COMMANDS.items()]
    about = "\n".join([__doc__ or "", "", *said, "bcq dashboard COMMAND --help says more."])
    made = Parser("bcq dashboard", about, examples, PAGE, usage="%(prog)s COMMAND ...")
    made.add_argument("command", metavar="COMMAND", help=f"one of {', '.join(COMMANDS)}")
    return made


def parser_of(name: str) -> Parser:
    """What one of `COMMANDS` takes."""
    command = COMMANDS[name]
    made = Parser(f"bcq dashboard {name}", command.__doc__, command.EXAMPLES, PAGE)
    command.add_arguments(made)
    return made


def main() -> None:
    """Run one of `COMMANDS`."""
    name = parser().parse_args(sys.argv[1:2]).command
    if name not in COMMANDS:
        known = ", ".join(COMMANDS)
        raise SystemExit(f"error: bcq dashboard {name}: there is no such command; give one of {known}")
    options = parser_of(name).parse_args(sys.argv[2:])
    with in_one_line(), mistakes_in_one_line():
        raise SystemExit(COMMANDS[name].run(options))


if __name__ == "__main__":
    main()
