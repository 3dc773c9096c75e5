from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from torch.testing import assert_close

from bcq_exp.data import ReplayBuffer, observation_statistics
from bcq_exp.io.checkpoint import load_checkpoint, save_checkpoint
from bcq_exp.policies import BCQPolicy, DiscreteBCQPolicy, Policy, normalize_observations

Columns = dict[str, Any]
Case = tuple[Callable[..., Policy], Columns]

EPS = 1e-3
MEAN, STD = np.array([100.0, -3.0, 0.0]), np.array([10.0, 0.5, 0.0])
nearly = partial(assert_close, rtol=1e-4, atol=1e-5)


def raw(columns: Columns) -> Columns:
    """The columns with observations whose standardised form the given ones are."""
    units = {name: (columns[name] * (STD + EPS) + MEAN).astype(np.float32) for name in ("obs", "obs_next")}
    return columns | units


def standardised(columns: Columns) -> Columns:
    return columns | {name: ((columns[name] - MEAN) / (STD + EPS)).astype(np.float32) for name in ("obs", "obs_next")}


def normalized(policy: Policy) -> Policy:
    normalize_observations(policy, MEAN, STD, eps=EPS)
    return policy


def test_acting_on_raw_observations_is_acting_by_hand_on_standardised_ones(case: Case) -> None:
    make, columns = case
    outside = raw(columns)["obs"]
    by_hand, policy = make(), normalized(make())
    for one in (by_hand, policy):
        one.eval()
        one.seed_acting(0)
    expected, found = by_hand({"obs": (outside - MEAN) / (STD + EPS)}), policy({"obs": outside})
    assert found.keys() == expected.keys()
    nearly(found.act, expected.act)
    by_hand.seed_acting(1)
    policy.seed_acting(1)
    by_itself = by_hand.compute_action((outside - MEAN) / (STD + EPS))
    np.testing.assert_allclose(policy.compute_action(outside), by_itself, rtol=1e-4, atol=1e-5)
    assert not np.allclose(make().eval().compute_action(outside), by_itself, atol=1e-2)


def test_values_of_raw_observations_are_those_of_standardised_ones(
    make_discrete: Callable[..., DiscreteBCQPolicy], discrete: Columns
) -> None:
    policy, by_hand = normalized(make_discrete()), make_discrete()
    found, expected = policy(raw(discrete)), by_hand(standardised(raw(discrete)))
    for name in ("q_value", "logits", "imitation_logits"):
        nearly(found[name], expected[name])


@pytest.mark.parametrize("extra", [{}, {"estimation_step": 3, "target_update_freq": 2}])
def test_learning_from_raw_observations_is_learning_by_hand_from_standardised_ones(
    case: Case, extra: dict[str, int]
) -> None:
    make, columns = case
    extra = extra if columns["act"].ndim == 1 else {}
    policy, by_hand = normalized(make(**extra)), make(**extra)
    outside = raw(columns)
    buffers = [ReplayBuffer(**found, seed=0) for found in (outside, standardised(outside))]
    for one, buffer in zip((policy, by_hand), buffers, strict=True):
        one.seed(2)
        for _ in range(5):
            one.update(16, buffer)
        one.learn({name: column[:16] for name, column in buffer.columns().items()})
    found, expected = policy.state_dict(), by_hand.state_dict()
    assert found.keys() - expected.keys() == {"obs_mean", "obs_scale"}
    nearly({name: found[name] for name in expected}, expected)


def test_a_checkpoint_has_the_statistics_and_the_last_word(case: Case, tmp_path: Path) -> None:
    make, columns = case
    policy, outside = normalized(make()), raw(columns)
    policy.learn(outside)
    path = save_checkpoint(tmp_path, 1, policy.training_state())
    with safe_open(path / "tensors.safetensors", "pt") as file:
        assert_close(file.get_tensor("module/obs_mean"), torch.tensor(MEAN, dtype=torch.float32))
        assert_close(file.get_tensor("module/obs_scale"), torch.tensor(STD + EPS, dtype=torch.float32))
    loaded = make(seed=1)
    normalize_observations(loaded, np.zeros(3), np.ones(3), eps=EPS)
    loaded.load_training_state(load_checkpoint(path))
    acts = []
    for one in (policy, loaded):
        one.eval()
        one.seed_acting(3)
        acts.append(one.compute_action(outside["obs"]))
    np.testing.assert_array_equal(*acts)


def test_a_policy_that_does_not_normalise_refuses_the_checkpoint_of_one_that_does(case: Case) -> None:
    make, _ = case
    with pytest.raises(RuntimeError, match="obs_mean"):
        make().load_training_state(normalized(make()).training_state())


def test_the_statistics_of_a_buffer_give_mean_0_and_deviation_1(
    make_bcq: Callable[..., BCQPolicy], continuous: Columns
) -> None:
    seen: list[torch.Tensor] = []
    policy, outside = make_bcq(), raw(continuous)
    normalize_observations(policy, *observation_statistics(outside["obs"]), eps=1e-9)
    policy.nets["encoder"].register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    policy.learn(outside)
    nearly(seen[0].mean(0)[:2], torch.zeros(2))
    nearly(seen[0].std(0, correction=0)[:2], torch.ones(2))


def test_the_batch_that_is_handed_in_stays_as_it_is(case: Case) -> None:
    make, columns = case
    outside = {name: torch.as_tensor(column) for name, column in raw(columns).items()}
    before = {name: column.clone() for name, column in outside.items()}
    normalized(make()).learn(outside)
    assert_close(outside, before, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("mean", "std", "eps", "said"),
    [
        (MEAN, STD[:2], EPS, r"mean has shape \(3,\), std \(2,\)"),
        (np.zeros((1, 3)), np.ones((1, 3)), EPS, r"mean has shape \(1, 3\)"),
        (MEAN, STD, 0.0, "eps=0.0 is not above 0"),
        (MEAN, STD, float("nan"), "eps=nan"),
    ],
)
def test_statistics_that_cannot_be_used_are_refused(
    make_bcq: Callable[..., BCQPolicy], mean: Any, std: Any, eps: float, said: str
) -> None:
    policy = make_bcq()
    with pytest.raises(ValueError, match=said):
        normalize_observations(policy, mean, std, eps=eps)
    assert "obs_mean" not in policy.state_dict()


def test_a_policy_normalises_once(make_bcq: Callable[..., BCQPolicy]) -> None:
    with pytest.raises(ValueError, match="already"):
        normalized(normalized(make_bcq()))
