"""Batch-Constrained deep Q-learning, continuous (arXiv:1812.02900) and discrete (arXiv:1910.01708)."""

from importlib.metadata import version

__version__ = version("bcq_exp")
