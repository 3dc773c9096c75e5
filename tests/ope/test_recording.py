from pathlib import Path

import numpy as np
import pytest

from bcq_exp.analysis.trained_runs import TrainedRun
from bcq_exp.data import read_transitions, write_h5
from bcq_exp.selection.estimation import recording_of
from cases import checked, random_walk
from quick import request_of
from trained import on_file


def test_a_recording_is_the_whole_dataset_in_its_own_units(discrete_runs: list[TrainedRun], discrete_file: Path):
    whole = read_transitions(str(discrete_file))
    for run in discrete_runs:
        recording = recording_of(run.cfg, request_of("fqe"))
        assert np.array_equal(recording.data.rew, whole.rew)
        assert recording.episodes.lengths_E.tolist() == [20] * 20
        assert recording.fitting.statistics[0] == pytest.approx(whole.obs.mean(0), abs=1e-6)


@pytest.mark.parametrize(("num_episodes", "num_weighed"), [(3, 3), (4, 3)])
def test_a_last_episode_that_may_be_cut_is_not_weighed(tmp_path: Path, num_episodes: int, num_weighed: int):
    write_h5(tmp_path / "walk.h5", random_walk(num_episodes, is_discrete=True), "CartPole-v1", {})
    recording = recording_of(checked(*on_file(tmp_path / "walk.h5"), "batch_size=16"), request_of("wis"))
    assert recording.whole.lengths_E.tolist() == [20] * num_weighed
    assert recording.episodes.lengths_E.tolist() == [20] * num_episodes
    assert recording.rows == slice(20 * num_weighed)
