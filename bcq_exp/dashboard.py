"""Trained runs in Weights & Biases: `python -m bcq_exp.dashboard COMMAND DIR [DIR ...]`."""

import argparse

from bcq_exp.dashboards import report, sync, workspace
from bcq_exp.io.endings import in_one_line

# A module each: its docstring is the help, beside `add_arguments` and `run`.
COMMANDS = {"sync": sync, "workspace": workspace, "report": report}


def main() -> None:
    """Run one of `COMMANDS`."""
    parser = argparse.ArgumentParser(prog="bcq-dashboard", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, command in COMMANDS.items():
        said = command.__doc__ or ""
        command.add_arguments(commands.add_parser(name, help=said.partition("\n")[0], description=said))
    options = parser.parse_args()
    try:
        with in_one_line():
            code = COMMANDS[options.command].run(options)
    except ValueError as error:
        raise SystemExit(f"error: {error}") from None
    raise SystemExit(code)


if __name__ == "__main__":
    main()
