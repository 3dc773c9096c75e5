import math
from pathlib import Path

import numpy as np
import pytest
import torch

import pixels
from bcq_exp.analysis.trained_runs import TrainedRun, load_policy, trained_runs
from bcq_exp.data import read_transitions, write_h5
from bcq_exp.ope.decisions import decide
from bcq_exp.ope.estimation import Recording, by_dataset, estimate
from bcq_exp.ope.importance import Episodes, weighted_importance_sampling
from bcq_exp.ope.offline import Task, checked_task
from cases import checked, composed, random_walk
from trained import on_file, train_run

QUICK = ("num_updates=30", "batch_size=16", "network.hidden_sizes=[8]", "compile=never", "num_threads=1")


def task(ope: str, *overrides: str) -> Task:
    return checked_task(composed("run=DIR", f"ope={ope}", *QUICK, *overrides, config="evaluate"))


@pytest.fixture(scope="module")
def discrete_runs(tmp_path_factory: pytest.TempPathFactory, discrete_file: Path) -> list[TrainedRun]:
    path = tmp_path_factory.mktemp("discrete")
    train_run(path / "a", "algorithm=dqn", "dataset.reward_scale=10", *on_file(discrete_file))
    train_run(path / "b", "algorithm.eval_eps=1.0", "dataset.fraction=0.5", *on_file(discrete_file))
    return sorted(trained_runs(path, "cpu"), key=lambda run: run.directory)


def test_runs_of_one_recording_are_judged_together_however_they_learned_from_it(discrete_file: Path, tmp_path: Path):
    def run(name: str, *typed: str) -> TrainedRun:
        return TrainedRun(name, tmp_path, checked(*typed), tmp_path, 0.0)

    file, other = on_file(discrete_file), on_file(tmp_path / "other.h5")
    runs = [run("a", *file), run("b", *other), run("c", *file, "dataset.fraction=0.5", "dataset.reward_scale=2",
                                                   "dataset.normalize_obs=true", "algorithm=dqn")]  # fmt: skip
    assert [[each.label for each in group] for group in by_dataset(runs)] == [["a", "c"], ["b"]]


def test_a_recording_is_the_whole_dataset_in_its_own_units(discrete_runs: list[TrainedRun], discrete_file: Path):
    whole = read_transitions(str(discrete_file))
    for run in discrete_runs:
        found = Recording(run.cfg, task("fqe"))
        assert np.array_equal(found.data.rew, whole.rew)
        assert found.episodes.lengths_E.tolist() == [20] * 20
        assert found.fitting.statistics[0] == pytest.approx(whole.obs.mean(0), abs=1e-6)


def test_runs_of_two_algorithms_are_estimated_as_one_population(discrete_runs: list[TrainedRun]):
    both = estimate(discrete_runs, task("[dr,fqe,pdwis,wis]"))
    assert [list(worth) for worth in both] == [["dr", "fqe", "pdwis", "wis", "ess"]] * 2
    assert all(math.isfinite(value) for worth in both for value in worth.values())
    assert all(1 <= worth["ess"] <= 19 for worth in both)
    (alone,) = estimate(discrete_runs[1:], task("[dr,fqe,pdwis,wis]"))
    assert alone == pytest.approx(both[1], rel=1e-4)
    assert list(estimate(discrete_runs[:1], task("fqe"))[0]) == ["fqe"]


def test_weights_are_those_of_the_policy_over_the_imitator(discrete_runs: list[TrainedRun]):
    run = discrete_runs[1]  # takes every action at random: eval_eps is 1
    recording = Recording(run.cfg, task("wis"))
    log_ratio = math.log(0.5) - recording.log_behaviour_N
    assert recording.data.truncated[-1]  # where the recording ends, which may have cut it
    whole = Episodes.of(np.full(19, 20))
    expected = weighted_importance_sampling(
        recording.data.rew[:380].astype(float), log_ratio[:380], whole, recording.settings.gamma
    )
    assert recording.by_weights(load_policy(run), None)["wis"] == pytest.approx(expected, rel=1e-5)


def test_a_policy_is_asked_once_what_it_does_in_each_state(discrete_runs: list[TrainedRun]):
    recording, policy, asked = Recording(discrete_runs[0].cfg, task("dr")), load_policy(discrete_runs[0]), []
    policy.register_forward_pre_hook(lambda _, batches: asked.append(batches[0].obs))
    (value,) = recording.fitted([policy])
    recording.by_weights(policy, value)
    data = recording.data
    assert np.array_equal(np.concatenate(asked), np.concatenate([data.obs_next, data.obs]))
    # Asked once more, it would say the same of the next states.
    again = value.of_states(data.obs_next, decide(policy, data.obs_next, data.mask_next))
    assert np.array_equal(value.of_next_states(data.obs_next), again)


def test_continuous_runs_are_estimated_by_their_values(tmp_path: Path, continuous_file: Path):
    typed = on_file(continuous_file, "Pendulum-v1")
    train_run(tmp_path / "a", "algorithm=bcq", "network.vae_hidden_sizes=[8]", *typed)
    train_run(tmp_path / "b", "algorithm=bc", *typed)
    runs = trained_runs(tmp_path, "cpu")
    found = estimate(runs, task("fqe"))
    assert all(math.isfinite(worth["fqe"]) for worth in found)
    assert found[0] != found[1]
    with pytest.raises(ValueError, match="is for discrete actions"):
        estimate(runs, task("dr"))


def test_it_is_said_where_fitted_values_cannot_see_far(
    discrete_runs: list[TrainedRun], caplog: pytest.LogCaptureFixture
):
    # 30 updates are 3 iterations of 10: 0.99^3 = 97 % are not seen, 0.1^3 nearly all.
    estimate(discrete_runs[:1], task("fqe", "target_update_freq=10", "gamma=0.1"))
    assert "lies behind weighs" not in caplog.text
    estimate(discrete_runs[:1], task("fqe", "target_update_freq=10"))
    assert "so values see 3 steps ahead, and what lies behind weighs 97% with gamma=0.99" in caplog.text


@pytest.mark.parametrize(("num_episodes", "num_weighed"), [(3, 3), (4, 3)])
def test_a_last_episode_that_may_be_cut_is_not_weighed(tmp_path: Path, num_episodes: int, num_weighed: int):
    write_h5(tmp_path / "walk.h5", random_walk(num_episodes, is_discrete=True), "CartPole-v1", {})
    found = Recording(checked(*on_file(tmp_path / "walk.h5"), "batch_size=16"), task("wis"))
    assert found.whole.lengths_E.tolist() == [20] * num_weighed
    assert found.episodes.lengths_E.tolist() == [20] * num_episodes


def test_images_are_valued_by_convolutions_as_they_are(tmp_path: Path):
    write_h5(tmp_path / "images.h5", pixels.recording(4, is_perfect=False), pixels.ENV, {})
    images = ("network=nature_cnn", *on_file(tmp_path / "images.h5", pixels.ENV))
    train_run(tmp_path / "run", "algorithm=dqn", "num_updates=2", *images)
    runs = trained_runs(tmp_path / "run", "cpu")
    asked = task("[fqe,wis]", "network=nature_cnn", "num_updates=2")
    recording, policy = Recording(runs[0].cfg, asked), load_policy(runs[0])
    (value,) = recording.fitted([policy])
    first = torch.tensor([0, 10, 20, 30])
    pi_BA = decide(policy, recording.data.obs[first], None)
    with torch.no_grad():
        q_BA = value.policy.nets["critic"](torch.tensor(recording.data.obs[first]).float())
    assert recording.by_values(policy, value) == pytest.approx(float((pi_BA * q_BA).sum(-1).mean()), rel=1e-5)
    assert math.isfinite(estimate(runs, asked)[0]["wis"])


def test_values_that_fail_are_not_a_number(discrete_runs: list[TrainedRun]):
    recording = Recording(discrete_runs[0].cfg, task("[dr,fqe]"))
    policy = load_policy(discrete_runs[0])
    assert math.isnan(recording.by_values(policy, None))
    assert math.isnan(recording.by_weights(policy, None)["dr"])


def test_a_dataset_that_is_gone_is_an_error(tmp_path: Path, discrete_file: Path):
    copy = tmp_path / "data.h5"
    copy.write_bytes(discrete_file.read_bytes())
    train_run(tmp_path / "a", *on_file(copy))
    copy.unlink()
    with pytest.raises((OSError, ValueError), match=r"data\.h5"):
        estimate(trained_runs(tmp_path, "cpu"), task("fqe"))
