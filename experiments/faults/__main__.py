"""Run a driver: `python -m experiments.faults kills`, `concurrency` or `fuzz`, each with its own `--help`."""

import argparse
import sys
from importlib import import_module

DRIVERS = ("kills", "concurrency", "fuzz")


def main() -> int:
    """Run the named driver with the arguments that follow; its exit status is 1 where it finds a fault."""
    parser = argparse.ArgumentParser(prog="python -m experiments.faults", description=__doc__)
    parser.add_argument("driver", choices=DRIVERS)
    chosen = parser.parse_args(sys.argv[1:2])
    status: int = import_module(f"experiments.faults.{chosen.driver}").main(sys.argv[2:])
    return status


if __name__ == "__main__":
    sys.exit(main())
