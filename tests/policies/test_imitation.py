from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from bcq_exp.policies import BCQPolicy, DiscreteBCQPolicy
from bcq_exp.policies.imitation import Imitation

Columns = dict[str, Any]


def test_an_imitator_is_judged_by_what_it_finds_likeliest(
    make_discrete: Callable[..., DiscreteBCQPolicy], discrete: Columns
) -> None:
    policy, obs, act = make_discrete(), np.asarray(discrete["obs"]), np.asarray(discrete["act"])
    found = {name: float(value) for name, value in Imitation(policy, obs, act, None, seed=1)().items()}
    out = policy({"obs": obs})
    log_probs = out.imitation_logits.double().log_softmax(-1).numpy()
    assert found["accuracy"] == pytest.approx((out.act.numpy() == act).mean())
    assert found["imitator_accuracy"] == pytest.approx((log_probs.argmax(1) == act).mean())
    assert found["log_likelihood"] == pytest.approx(log_probs[np.arange(len(act)), act].mean(), abs=1e-5)


def test_actions_that_are_not_available_have_no_share_of_the_likelihood(
    make_discrete: Callable[..., DiscreteBCQPolicy], discrete: Columns
) -> None:
    policy, act = make_discrete(), np.asarray(discrete["act"])
    only = np.arange(policy.action_map.act_dim) == act[:, None]
    found = Imitation(policy, np.asarray(discrete["obs"]), act, only, seed=1)()
    assert [float(found[name]) for name in ("accuracy", "imitator_accuracy", "log_likelihood")] == [1, 1, 0]


def test_continuous_actions_have_a_square_error_and_the_same_noise_each_time(
    make_bcq: Callable[..., BCQPolicy], continuous: Columns
) -> None:
    policy = make_bcq()
    act = np.asarray(policy.map_action(np.asarray(continuous["act"], np.float32)))
    imitation = Imitation(policy, np.asarray(continuous["obs"]), act, None, seed=1)
    first = imitation()
    assert list(first) == imitation.names == ["error"]
    assert first["error"] > 0
    torch.manual_seed(7)
    assert imitation()["error"] == first["error"]
