"""Runs: their configuration, their datasets, their directories, and the schedule that trains them."""
