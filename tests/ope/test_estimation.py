import math
from pathlib import Path

import pytest

from bcq_exp.analysis.trained_runs import TrainedRun, trained_runs
from bcq_exp.ope.estimation import by_dataset, estimate
from cases import checked
from ope.quick import request_of
from trained import on_file, train_run


def test_runs_of_one_recording_are_judged_together_however_they_learned_from_it(discrete_file: Path, tmp_path: Path):
    def run(name: str, *typed: str) -> TrainedRun:
        return TrainedRun(name, 0, tmp_path, checked(*typed), tmp_path, 0.0)

    file, other = on_file(discrete_file), on_file(tmp_path / "other.h5")
    runs = [run("a", *file), run("b", *other), run("c", *file, "dataset.fraction=0.5", "dataset.reward_scale=2",
                                                   "dataset.normalize_obs=true", "algorithm=dqn")]  # fmt: skip
    assert [[each.setting for each in group] for group in by_dataset(runs)] == [["a", "c"], ["b"]]


def test_runs_of_two_algorithms_are_estimated_as_one_population(discrete_runs: list[TrainedRun]):
    both = estimate(discrete_runs, request_of("[dr,fqe,pdwis,wis]"))
    assert [list(worth) for worth in both] == [["dr", "fqe", "pdwis", "wis", "ess"]] * 2
    assert all(math.isfinite(value) for worth in both for value in worth.values())
    assert all(1 <= worth["ess"] <= 19 for worth in both)
    (alone,) = estimate(discrete_runs[1:], request_of("[dr,fqe,pdwis,wis]"))
    assert alone == pytest.approx(both[1], rel=1e-4)
    assert list(estimate(discrete_runs[:1], request_of("fqe"))[0]) == ["fqe"]


def test_continuous_runs_are_estimated_by_their_values(tmp_path: Path, continuous_file: Path):
    typed = on_file(continuous_file, "Pendulum-v1")
    train_run(tmp_path / "a", "algorithm=bcq", "network.vae_hidden_sizes=[8]", *typed)
    train_run(tmp_path / "b", "algorithm=bc", *typed)
    runs = trained_runs(tmp_path, "cpu")
    found = estimate(runs, request_of("fqe"))
    assert all(math.isfinite(worth["fqe"]) for worth in found)
    assert found[0] != found[1]
    with pytest.raises(ValueError, match="is for discrete actions"):
        estimate(runs, request_of("dr"))


def test_it_is_said_where_fitted_values_cannot_see_far(
    discrete_runs: list[TrainedRun], caplog: pytest.LogCaptureFixture
):
    # 30 updates are 3 iterations of 10: 0.99^3 = 97 % are not seen, 0.1^3 nearly all.
    estimate(discrete_runs[:1], request_of("fqe", "target_update_freq=10", "gamma=0.1"))
    assert "lies behind weighs" not in caplog.text
    estimate(discrete_runs[:1], request_of("fqe", "target_update_freq=10"))
    assert "so values see 3 steps ahead, and what lies behind weighs 97% with gamma=0.99" in caplog.text


def test_a_dataset_that_is_gone_is_an_error(tmp_path: Path, discrete_file: Path):
    copy = tmp_path / "data.h5"
    copy.write_bytes(discrete_file.read_bytes())
    train_run(tmp_path / "a", *on_file(copy))
    copy.unlink()
    with pytest.raises((OSError, ValueError), match=r"data\.h5"):
        estimate(trained_runs(tmp_path, "cpu"), request_of("fqe"))
