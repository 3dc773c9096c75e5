"""The estimators of off-policy evaluation, by the names that `ope=` takes: one file each."""

from bcq_exp.ope.estimators.base import Estimator
from bcq_exp.ope.estimators.dr import DoublyRobust
from bcq_exp.ope.estimators.fqe import FittedQEvaluation
from bcq_exp.ope.estimators.pdwis import PerDecisionWeightedImportanceSampling
from bcq_exp.ope.estimators.wis import WeightedImportanceSampling

ESTIMATORS: dict[str, type[Estimator]] = {
    "fqe": FittedQEvaluation,
    "wis": WeightedImportanceSampling,
    "pdwis": PerDecisionWeightedImportanceSampling,
    "dr": DoublyRobust,
}
