import math
from pathlib import Path

import pytest
import torch

import pixels
from bcq_exp.analysis.trained_runs import TrainedRun, load_policy, trained_runs
from bcq_exp.data import write_h5
from bcq_exp.ope.action_table import tabulate
from bcq_exp.ope.candidate import Candidate, candidates
from bcq_exp.selection.estimation import estimate, recording_of
from quick import request_of
from trained import on_file, train_run


def test_images_are_valued_by_convolutions_as_they_are(tmp_path: Path):
    write_h5(tmp_path / "images.h5", pixels.recording(4, is_perfect=False), pixels.ENV, {})
    images = ("network=nature_cnn", *on_file(tmp_path / "images.h5", pixels.ENV))
    train_run(tmp_path / "run", "algorithm=dqn", "num_updates=2", *images)
    runs = trained_runs(tmp_path / "run", "cpu")
    asked = request_of("[fqe,wis]", "network=nature_cnn", "num_updates=2")
    recording, policy, fqe = recording_of(runs[0].cfg, asked), load_policy(runs[0]), asked.estimators["fqe"]
    (candidate,) = candidates(recording, [policy])
    value = candidate.fitted_values(fqe.target_update_freq)
    first = torch.tensor([0, 10, 20, 30])
    pi_BA = tabulate(policy, recording.data.obs[first], None)
    with torch.no_grad():
        q_BA = value.policy.nets["critic"](torch.tensor(recording.data.obs[first]).float())
    assert fqe.estimate(candidate) == pytest.approx(float((pi_BA * q_BA).sum(-1).mean()), rel=1e-5)
    assert math.isfinite(estimate(runs, asked)[0]["wis"])


def test_values_that_fail_are_not_a_number(discrete_runs: list[TrainedRun]):
    request = request_of("[dr,fqe]")
    recording = recording_of(discrete_runs[0].cfg, request)
    failed = Candidate(recording, load_policy(discrete_runs[0]), lambda target_update_freq: None)
    assert all(math.isnan(estimator.estimate(failed)) for estimator in request.estimators.values())
