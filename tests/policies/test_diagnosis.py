from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from bcq_exp.algorithms import diagnostics
from bcq_exp.algorithms.form import Algorithm
from bcq_exp.data import ReplayBuffer
from bcq_exp.policies import BCQPolicy, DiscreteBCQPolicy, Policy, normalize_observations
from bcq_exp.policies.diagnosis import NUM_ROWS, Diagnosis

Columns = dict[str, Any]


def table(diagnosis: Diagnosis) -> dict[str, float]:
    return {name: float(value) for name, value in diagnosis().items()}


@pytest.fixture
def buffer(discrete: Columns) -> ReplayBuffer:
    return ReplayBuffer(**discrete)


def test_a_diagnosis_is_of_the_rows_that_its_seed_chooses(
    make_discrete: Callable[..., DiscreteBCQPolicy], buffer: ReplayBuffer
) -> None:
    policy = make_discrete(discount_factor=0.5)
    diagnosis = Diagnosis(policy, buffer, num_rows=10, seed=3)
    rows = torch.randint(10, (NUM_ROWS,), generator=torch.Generator().manual_seed(3))
    assert len(rows.unique()) == 10
    found, values = table(diagnosis), policy({"obs": buffer.obs[rows]})
    assert list(found) == diagnosis.names
    assert found["return_logged"] == pytest.approx(float(buffer.discounted_returns(0.5)[rows].mean()))
    logged = values.q_value[torch.arange(NUM_ROWS), buffer.act[rows]]
    assert found["q_logged"] == pytest.approx(float(logged.mean()), abs=1e-6)
    assert found["agreement"] == pytest.approx(float((values.act == buffer.act[rows]).float().mean()))


def test_a_diagnosis_repeats_itself_until_the_weights_change(
    make_bcq: Callable[..., BCQPolicy], continuous: Columns
) -> None:
    policy, buffer = make_bcq(), ReplayBuffer(**continuous, seed=0)
    policy.algorithm = with_diagnosis(policy.algorithm)
    diagnosis, again = (Diagnosis(policy, buffer, num_rows=len(buffer), seed=0) for _ in range(2))
    first = table(diagnosis)
    assert len(diagnosis.rows_B) == 256  # the policy chooses among 100 actions in each
    assert table(diagnosis) == table(again) == first
    assert table(Diagnosis(policy, buffer, num_rows=len(buffer), seed=1)) != first
    policy.update(16, buffer)
    assert table(diagnosis)["q_policy"] != first["q_policy"]


def with_diagnosis(algorithm: Algorithm) -> Algorithm:
    return replace(algorithm, diagnose=diagnostics.of_critics(algorithm.act, ("critic1", "critic2")))


def test_a_diagnosis_draws_from_no_stream_that_there_was(
    make_bcq: Callable[..., BCQPolicy], continuous: Columns
) -> None:
    policy, buffer = make_bcq(), ReplayBuffer(**continuous, seed=0)
    policy.algorithm = with_diagnosis(policy.algorithm)

    def streams() -> list[torch.Tensor]:
        generators = (policy.learning_noise, policy.acting_noise, buffer.generator, torch.default_generator)
        return [generator.get_state() for generator in generators]

    before = streams()
    assert table(Diagnosis(policy, buffer, num_rows=len(buffer), seed=0))
    assert all(torch.equal(one, other) for one, other in zip(streams(), before, strict=True))


def test_a_policy_that_normalises_is_diagnosed_on_raw_observations(
    make_discrete: Callable[..., DiscreteBCQPolicy], discrete: Columns
) -> None:
    def found(policy: Policy, obs: Any) -> dict[str, float]:
        buffer = ReplayBuffer(**discrete | {"obs": obs.astype(np.float32)})
        return table(Diagnosis(policy, buffer, num_rows=len(buffer), seed=0))

    mean, std, obs = np.array([100.0, -3.0, 0.0]), np.array([9.0, 0.5, 1.0]), discrete["obs"]
    by_hand = found(make_discrete(), obs)
    normalize_observations(policy := make_discrete(), mean, std, eps=1.0)
    assert found(policy, obs * (std + 1) + mean) == pytest.approx(by_hand, rel=1e-4, abs=1e-4)


def test_an_algorithm_without_diagnostics_has_none(make_bcq: Callable[..., BCQPolicy], continuous: Columns) -> None:
    diagnosis = Diagnosis(make_bcq(), ReplayBuffer(**continuous), num_rows=5, seed=0)
    assert (diagnosis.names, diagnosis()) == ([], {})
