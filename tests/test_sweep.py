from pathlib import Path

import pytest
from omegaconf import OmegaConf

from bcq_exp.config import check
from bcq_exp.experiment import Job
from bcq_exp.sweep import check_unchanged, digest, groups, program
from cases import composed


def job(*overrides: str) -> Job:
    cfg = composed(*overrides)
    return Job(check(cfg), Path("run"), OmegaConf.to_container(cfg, resolve=True), overrides)


@pytest.mark.parametrize(
    ("first", "second", "is_shared"),
    [
        (("seed=0",), ("seed=1",), True),
        (("algorithm.unlikely_action_threshold=0.1",), ("algorithm.unlikely_action_threshold=0.5",), True),
        (("algorithm.gamma=0.9", "optimizer.lr=1e-4"), ("optimizer.weight_decay=0.1",), True),
        (("logger.tags=[a]",), ("logger=wandb",), True),
        (("algorithm=bcq", "dataset=pendulum-noisy", "algorithm.phi=0.1"),
         ("algorithm=bcq", "dataset=pendulum-noisy", "algorithm.lmbda=1"), True),
        (("algorithm.target_update_freq=1",), ("algorithm.target_update_freq=2",), False),
        (("batch_size=32",), ("batch_size=64",), False),
        (("network.hidden_sizes=[8]",), ("network.hidden_sizes=[9]",), False),
        (("algorithm=dqn",), ("algorithm=discrete_bcq",), False),
        (("optimizer=adamw",), ("optimizer=adam",), False),
        (("num_updates=10",), ("num_updates=20",), False),
    ],
)  # fmt: skip
def test_jobs_that_differ_in_numbers_only_share_a_program(first: tuple, second: tuple, is_shared: bool):
    assert (program(job(*first)) == program(job(*second))) == is_shared


def test_groups_keep_the_order_and_are_split_at_their_largest_size():
    jobs = [job(f"algorithm={name}", f"seed={seed}") for seed in range(3) for name in ("dqn", "bc_discrete")]
    found = groups(jobs, max_members=2)
    assert [[(j.cfg.algorithm.name, j.cfg.schedule.seed) for j in group] for group in found] == [
        [("dqn", 0), ("dqn", 1)],
        [("dqn", 2)],
        [("bc_discrete", 0), ("bc_discrete", 1)],
        [("bc_discrete", 2)],
    ]


def test_a_jobs_identity_is_its_configuration():
    assert digest(job("seed=1").resolved) == digest(job("seed=1", "batch_size=64").resolved)
    assert digest(job("seed=1").resolved) != digest(job("seed=2").resolved)


BEGUN = {"batches": {"0": [["a"]]}, "source_sha256": "x"}


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"batches": {"0": [["b"]]}}, "configuration has changed"),
        ({"source_sha256": "y"}, "code has changed"),
    ],
)
def test_a_changed_sweep_refuses_to_go_on_and_says_why(changed: dict, said: str):
    with pytest.raises(ValueError, match=said) as caught:
        check_unchanged(BEGUN, BEGUN | changed, Path("sweep"))
    assert "resume=false" in str(caught.value)


def test_the_same_sweep_and_its_next_batch_go_on():
    check_unchanged(BEGUN, dict(BEGUN), Path("sweep"))
    check_unchanged(BEGUN, BEGUN | {"batches": {"1": [["b"]]}}, Path("sweep"))
