import math

import numpy as np
import pytest

from bcq_exp.analysis.trained_runs import TrainedRun, load_policy
from bcq_exp.ope.candidate import candidates
from bcq_exp.ope.importance import Episodes, weighted_importance_sampling
from bcq_exp.selection.estimation import recording_of
from quick import request_of


def test_weights_are_those_of_the_policy_over_the_imitator(discrete_runs: list[TrainedRun]):
    run, request = discrete_runs[1], request_of("wis")  # takes every action at random: eval_eps is 1
    recording = recording_of(run.cfg, request)
    (candidate,) = candidates(recording, [load_policy(run)])
    log_ratio = math.log(0.5) - recording.log_behaviour_N
    assert recording.data.truncated[-1]  # where the recording ends, which may have cut it
    whole = Episodes.of(np.full(19, 20))
    expected = weighted_importance_sampling(
        recording.data.rew[:380].astype(float), log_ratio[:380], whole, recording.settings.gamma, np.ones((1, 19))
    )
    assert request.estimators["wis"].estimate(candidate) == pytest.approx(expected, rel=1e-5)
