"""Whole files, checkpoints, loggers, progress, signals and secrets."""
