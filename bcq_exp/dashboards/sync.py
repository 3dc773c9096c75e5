"""Upload runs to Weights & Biases."""

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    parser.add_argument("directories", nargs="+", type=Path, metavar="DIR", help="a run or sweep directory")


def run(options: argparse.Namespace) -> int:
    """Upload the runs; returns the exit code."""
    raise ValueError("not yet")
