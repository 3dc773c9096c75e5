"""Faults made on purpose in real processes of this project: `python -m experiments.faults kills|concurrency|fuzz`."""
