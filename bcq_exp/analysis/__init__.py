"""Runs and datasets read back: statistics, tables and figures."""
