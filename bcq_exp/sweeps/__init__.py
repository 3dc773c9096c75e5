"""Sweeps: jobs grouped into populations, launched here or by an executor, resumed."""
