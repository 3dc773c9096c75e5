import importlib.util
from collections.abc import Callable

import pytest

from bcq_exp.sweeps.launch import Launch

PLAIN = {"executor": "inprocess", "max_members": None, "num_processes": None, "options": {}}


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"executor": "slurm"}, "is none of inprocess, submitit_local, submitit_slurm, ray"),
        ({"options": 60}, "options=60 is no mapping"),
        ({"executor": ["ray"]}, "is none of inprocess"),
        ({"options": {1: 60}}, r"options=\{1: 60\} is no mapping"),
        ({"max_members": "all"}, "max_members=all is no integer"),
        ({"num_processes": 1.5}, "num_processes=1.5 is no integer"),
        ({"max_members": True}, "max_members=True is no integer"),
        ({"max_members": 0}, "max_members=0 is below 1"),
        ({"num_processes": 2}, "drop hydra.launcher.num_processes"),
        ({"options": {"timeout_min": 5}}, "drop hydra.launcher.num_processes and hydra.launcher.options"),
        ({"executor": "submitit_local", "num_processes": 5}, "allowed are 1 to 4"),
        ({"executor": "submitit_local", "options": {"timeout_mins": 5}}, "timeout_min"),
        ({"executor": "submitit_local", "options": {"timeout_min": "soon"}}, '"timeout_min" expected type'),
        ({"executor": "submitit_slurm", "options": {}}, "lacks timeout_min"),
        ({"executor": "submitit_slurm", "options": {"timeout_min": 5, "slurm_queue": "gpu"}}, "'queue'"),
    ],
)
def test_what_an_executor_does_not_take_is_said(machine: Callable[..., None], keys: dict, said: str):
    pytest.importorskip("submitit")
    machine(cores=4)
    with pytest.raises(ValueError, match=said):
        Launch(**PLAIN | keys)


def test_a_machine_without_slurm_is_told_apart(machine: Callable[..., None]):
    pytest.importorskip("submitit")
    machine(cores=4, is_slurm=False)
    with pytest.raises(ValueError, match='submitit_slurm: Could not detect "srun"'):
        Launch(**PLAIN | {"executor": "submitit_slurm", "options": {"timeout_min": 5}})


@pytest.mark.parametrize(("executor", "package"), [("submitit_slurm", "submitit"), ("ray", "ray")])
def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch, executor: str, package: str):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=rf"pip install 'bcq_exp\[{package}\]'"):
        Launch(**PLAIN | {"executor": executor})
