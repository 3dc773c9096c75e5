"""The documented classes, for people who use the library from Python."""

from bcq_exp.policies.base import Policy
from bcq_exp.policies.bcq import BCQPolicy
from bcq_exp.policies.discrete_bcq import DiscreteBCQPolicy
from bcq_exp.policies.normalization import normalize_observations
from bcq_exp.policies.schedulers import MultipleLRSchedulers
from bcq_exp.policies.stats import BCQTrainingStats, DiscreteBCQTrainingStats, TrainingStats

__all__ = [
    "BCQPolicy",
    "BCQTrainingStats",
    "DiscreteBCQPolicy",
    "DiscreteBCQTrainingStats",
    "MultipleLRSchedulers",
    "Policy",
    "TrainingStats",
    "normalize_observations",
]
