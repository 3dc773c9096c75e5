"""The executors of a sweep's groups, by the names that `hydra.launcher.executor` takes: one file each package.

The registry is all that the rest of the program knows. submitit and Ray are imported in their own files, when used.
"""

from bcq_exp.sweeps.executors.form import Executor
from bcq_exp.sweeps.executors.in_process import InProcess
from bcq_exp.sweeps.executors.ray import Ray
from bcq_exp.sweeps.executors.submitit import SubmititLocal, SubmititSlurm

EXECUTORS: dict[str, type[Executor]] = {
    "inprocess": InProcess,
    "submitit_local": SubmititLocal,
    "submitit_slurm": SubmititSlurm,
    "ray": Ray,
}
