import numpy as np
import pytest

from bcq_exp.analysis.trained_runs import TrainedRun, load_policy
from bcq_exp.ope.candidate import candidates
from bcq_exp.selection.estimation import recording_of
from quick import request_of


def test_each_reward_has_the_weight_of_its_episode_so_far(discrete_runs: list[TrainedRun]):
    request = request_of("pdwis", "gamma=0.9")
    recording = recording_of(discrete_runs[1].cfg, request)
    (candidate,) = candidates(recording, [load_policy(discrete_runs[1])])
    rho_ET = np.exp(candidate.log_ratio_R.reshape(19, 20).cumsum(1))  # episodes of 20 steps; the last may be cut
    rew_ET = recording.data.rew[:380].astype(float).reshape(19, 20)
    expected = (0.9 ** np.arange(20) * (rho_ET / rho_ET.sum(0) * rew_ET).sum(0)).sum()
    assert request.estimators["pdwis"].estimate(candidate) == pytest.approx(expected, rel=1e-9)
