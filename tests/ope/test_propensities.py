from functools import partial

import gymnasium as gym
import numpy as np
import pytest
import torch
from torch.optim import Adam

from bcq_exp.data import ReplayBuffer
from bcq_exp.networks import MLP, Sizes
from bcq_exp.ope.fitting import Fitting
from bcq_exp.ope.propensities import log_propensities


def propensities(obs: np.ndarray, act: np.ndarray, mask: np.ndarray | None, lr: float = 0.01) -> np.ndarray:
    num, obs_dim = obs.shape
    flags = np.zeros(num, bool)
    buffer = ReplayBuffer(obs=obs, act=act, rew=np.zeros(num, np.float32), terminated=flags, truncated=flags,
                          obs_next=obs)  # fmt: skip
    fitting = Fitting(
        make_optimizer=partial(Adam, lr=lr),
        make_schedule=lambda optimizer: None,
        num_updates=600,
        batch_size=256,
        seed=0,
        is_compiled=False,
        device=torch.device("cpu"),
        action_space=gym.spaces.Discrete(3),
        statistics=None,
        obs_eps=1e-3,
    )
    make = partial(MLP, obs_dim, 3, hidden_sizes=[], activation="relu")
    return np.exp(log_propensities(buffer, obs, mask, make, fitting, Sizes((obs_dim,), 3, 1.0), "imitation"))


OBS = np.repeat(np.eye(2, dtype=np.float32), 4, axis=0)
ACT = np.array([0, 0, 0, 1, 2, 2, 2, 2])


def test_probabilities_are_the_shares_of_the_dataset():
    assert propensities(OBS, ACT, None) == pytest.approx([0.75, 0.75, 0.75, 0.25, 1, 1, 1, 1], abs=0.04)


def test_an_action_that_is_not_available_takes_no_probability():
    # Two states alike, in one of which the first action does not exist: what is left is all that there is.
    obs = np.ones((4, 1), np.float32)
    mask = np.array([[True, True, True]] * 2 + [[False, True, True]] * 2)
    found = propensities(obs, np.array([0, 1, 1, 2]), mask)
    assert found == pytest.approx([0.25, 0.5, 2 / 3, 1 / 3], abs=0.04)


def test_an_imitator_that_fails_is_an_error():
    with pytest.raises(ValueError, match=r"imitator's loss is not finite.*optimizer\.lr"):
        propensities(np.full((4, 1), np.inf, np.float32), np.zeros(4, np.int64), None)
