"""Faults on purpose, to real processes of this project: `python -m experiments.faults kills|concurrency|fuzz`."""
