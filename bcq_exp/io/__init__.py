"""Whole files, checkpoints, loggers, progress and signals."""
