import math
from pathlib import Path

import numpy as np
import pytest

from bcq_exp.analysis.trained_runs import TrainedRun, trained_runs
from bcq_exp.io.files import read_json
from bcq_exp.selection.estimation import assessments, by_dataset, estimate, objections, select
from cases import checked
from quick import request_of
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
    select(runs, [], request_of("fqe", "select=true", "num_resamples=100"), tmp_path)
    kept = read_json(tmp_path / "selection.json")
    lower = {run["run"]: run["estimates"]["fqe"]["low"] for each in kept["settings"] for run in each["runs"]}
    assert kept["chosen"]["run"] == max(lower, key=lambda name: lower[name])
    assert (kept["decided_by"], kept["estimators"], len(kept["settings"])) == ("fqe", {"fqe": "decides"}, 2)


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


def test_resamples_are_estimates_from_the_same_draws_for_every_policy(discrete_runs: list[TrainedRun]):
    request = request_of("[fqe,wis]", "num_resamples=150")
    found = list(assessments(discrete_runs, request))
    for assessment in found:
        (counts,) = assessment.recording.episodes.draws(150, seed=0)
        resamples = assessment.resamples(150, seed=0)
        assert {name: len(values) for name, values in resamples.items()} == {"fqe": 150, "wis": 150}
        for name, statistic in assessment.statistics.items():
            assert np.array_equal(resamples[name], statistic(counts))
            assert statistic(np.ones((1, 20))) == pytest.approx(assessment.numbers[name])


def test_what_makes_an_estimate_worthless_is_named():
    request, fine = request_of("[fqe,wis]", "min_ess=10"), {"fqe": np.zeros(3), "wis": np.zeros(3)}

    def found(bounds: tuple[float, float] = (0.0, 100.0), resamples: dict = fine, **numbers: float) -> dict[str, str]:
        return objections({"fqe": 5.0, "wis": 5.0, "ess": 10.0, **numbers}, resamples, request, bounds)

    assert found() == {}
    assert found(ess=9.96) == {"wis": "its effective sample size is 9.96 episodes, below min_ess=10"}
    assert found(fqe=100.5) == {"fqe": "100.5 is outside [0, 100], what recorded rewards can add up to"}
    assert found(fqe=math.nan)["fqe"].startswith("a loss did not stay finite")
    cut = {**fine, "wis": np.array([0.0, math.nan, 0.0])}
    assert found(resamples=cut) == {"wis": "some draws of episodes hold none that the policy can make"}
    assert "effective" in found(resamples=cut, ess=math.nan)["wis"]


def test_nothing_is_chosen_among_recordings_or_from_one_run(
    discrete_runs: list[TrainedRun], tmp_path: Path, discrete_file: Path
):
    copy = tmp_path / "copy.h5"
    copy.write_bytes(discrete_file.read_bytes())
    train_run(tmp_path / "other", *on_file(copy))
    (other,) = trained_runs(tmp_path / "other", "cpu")
    request = request_of("fqe", "select=true")
    with pytest.raises(ValueError, match="judged on 2 recordings, or parts of one"):
        select([*discrete_runs, other], [], request, tmp_path)
    with pytest.raises(ValueError, match="is the only run below"):
        select([other], [], request, tmp_path)
    assert not (tmp_path / "selection.json").exists()


def test_where_all_estimators_are_worthless_the_file_says_why(discrete_runs: list[TrainedRun]):
    sweep = discrete_runs[0].directory.parent
    with pytest.raises(ValueError, match="no estimator of wis is worth something for two of the 2 settings"):
        select(discrete_runs, [], request_of("wis", "select=true", "min_ess=20", "num_resamples=100"), sweep)
    kept = read_json(sweep / "selection.json")
    assert (kept["chosen"], kept["decided_by"]) == (None, None)
    assert len(kept["left_out"]) == 2
    assert all("below min_ess=20" in line for line in kept["left_out"])


def test_a_run_is_chosen_without_an_environment(
    tmp_path: Path, discrete_file: Path, capsys: pytest.CaptureFixture[str]
):
    for seed in range(3):
        typed = ("dataset=h5", f"dataset.path={discrete_file}", "dataset.holdout=0.5")
        train_run(tmp_path / f"run{seed}", f"seed={seed}", *typed)
    runs = trained_runs(tmp_path, "cpu")
    select(runs, [], request_of("fqe", "select=true", "num_resamples=100"), tmp_path)
    kept = read_json(tmp_path / "selection.json")
    (setting,) = kept["settings"]
    assert [run["online_return"] for run in setting["runs"]] == [None] * 3
    assert kept["chosen"]["run"] in [run["run"] for run in setting["runs"]]
    assert (kept["judged_on"], kept["num_episodes"]) == ("held-out episodes", 10)
    assert not (tmp_path / "ope.png").exists()  # which compares with online returns
    assert "judged by online return" not in capsys.readouterr().out
