import csv
from pathlib import Path

import pytest

from bcq_exp.analysis.trained_runs import trained_runs
from bcq_exp.data.preprocessing import at_most
from bcq_exp.io.source import CONF_DIR
from bcq_exp.ope.estimators import ESTIMATORS
from bcq_exp.selection.estimation import estimate
from bcq_exp.training.experiment import build
from cases import checked, composed, job, random_walk
from quick import request_of

SMALL = ("dataset=h5", "network.hidden_sizes=[8]", "batch_size=16", "compile=never", "num_threads=1", "num_updates=20",
         "log_freq=10", "eval_freq=10", "eval_episodes=1", "checkpoint_freq=10", "dataset.holdout=0.5")  # fmt: skip
QUICK = ("eval_ope.num_updates=30", "eval_ope.batch_size=16", "eval_ope.network.hidden_sizes=[8]")


def run(run_dir: Path, path: Path, *typed: str) -> dict:
    (summary,) = build([job(run_dir, *SMALL, f"dataset.path={path}", *typed)]).run()
    return summary


def column(run_dir: Path, name: str) -> list[str]:
    with (run_dir / "metrics.csv").open(newline="") as file:
        return [row[name] for row in csv.DictReader(file)]


@pytest.mark.parametrize("name", ["fqe", "dr", "wis"])
def test_an_estimate_in_training_is_that_of_an_evaluation_with_the_same_keys(
    tmp_path: Path, discrete_file: Path, name: str
):
    summary = run(tmp_path, discrete_file, f"eval_ope={name}", *QUICK)
    assert (summary["final_return"], summary["final_estimator"]) == (None, name)
    assert summary["judged_on"] == "held-out episodes"
    (found,) = estimate(trained_runs(tmp_path, "cpu"), request_of(name, "target_update_freq=3"))
    assert found[name] == pytest.approx(summary["final_estimate"], rel=1e-5)
    if name != "fqe":
        assert float(column(tmp_path, "eval/ess")[-1]) == pytest.approx(found["ess"], rel=1e-5)


def test_an_estimate_changes_nothing_that_is_learned_or_played(tmp_path: Path, discrete_file: Path):
    env = "dataset.env=CartPole-v1"
    played = [
        run(tmp_path / "with", discrete_file, env, "eval_ope=fqe", *QUICK),
        run(tmp_path / "without", discrete_file, env),
    ]
    assert played[0]["final_return"] == played[1]["final_return"] is not None
    assert [each["final_estimator"] for each in played] == ["fqe", None]
    for name in ("train/loss", "eval/return", "imitation/accuracy"):
        assert column(tmp_path / "with", name) == column(tmp_path / "without", name)


def test_a_member_of_a_population_has_the_estimate_that_it_would_have_alone(tmp_path: Path, continuous_file: Path):
    typed = (*SMALL, f"dataset.path={continuous_file}", "algorithm=td3_bc", "eval_ope=fqe", *QUICK)
    jobs = [job(tmp_path / str(seed), *typed, f"seed={seed}") for seed in range(2)]
    together = [summary["final_estimate"] for summary in build(jobs).run()]
    (alone,) = build([job(tmp_path / "alone", *typed, "seed=1")]).run()
    assert alone["final_estimate"] == pytest.approx(together[1], rel=1e-4)
    assert together[0] != together[1]


def test_a_run_that_was_killed_goes_on_to_the_same_estimates(tmp_path: Path, discrete_file: Path):
    run(tmp_path / "whole", discrete_file, "eval_ope=dr", *QUICK)
    killed = job(tmp_path / "killed", *SMALL, f"dataset.path={discrete_file}", "eval_ope=dr", *QUICK)
    trainer = build([killed])
    evaluate = trainer.evaluate

    def fall(*arguments: object) -> dict:
        if trainer.population.num_updates == 20:
            raise RuntimeError("killed")
        return evaluate(*arguments)

    trainer.evaluate = fall
    with pytest.raises(RuntimeError, match="killed"):
        trainer.run()
    trainer.members[0].release()
    build([killed]).run()
    assert column(tmp_path / "killed", "eval/estimate") == column(tmp_path / "whole", "eval/estimate")


def test_at_most_so_many_transitions_are_judged_in_whole_episodes():
    data = random_walk(10, is_discrete=True)
    assert at_most(data, 200, seed=0) is at_most(data, None, seed=0) is data
    assert len(at_most(data, 70, seed=0)) == 60
    assert len(at_most(data, 1, seed=0)) == 20


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        (("algorithm=bcq", "eval_ope=wis"), "eval_ope=wis is for discrete actions, not Box"),
        (("algorithm=bcq", "eval_ope=fqe", "eval_ope.gamma=1"), "eval_ope.gamma=1: fitted values have no bound"),
        (("algorithm=bcq", "eval_ope=fqe", "eval_ope.gamma=1.5"), "eval_ope.gamma=1.5 is outside [0, 1]"),
        (("algorithm=bcq", "eval_ope=fqe", "eval_ope.estimator=fq"), "eval_ope.estimator=fq is none of fqe, wis"),
        (("algorithm=bcq", "eval_ope=fqe", "eval_ope.network.dropout=0.5"), "eval_ope.network.dropout=0.5 is of pol"),
        (("algorithm=bcq", "eval_ope=fqe", "+eval_ope.episodes=3"), "eval_ope.episodes is not a key of"),
        (("algorithm=bcq", "eval_ope=fqe", "eval_ope.optimizer.betas=[2,0]"), "eval_ope.optimizer.betas"),
        (("algorithm=bcq", "eval_ope=fqe", "network@eval_ope.network=nature_cnn"), "eval_ope.network=nature_cnn is"),
    ],
)
def test_what_cannot_be_estimated_is_refused(continuous_file: Path, typed: tuple[str, ...], said: str):
    with pytest.raises(ValueError) as refusal:
        checked("dataset=h5", f"dataset.path={continuous_file}", *typed)
    assert said in str(refusal.value)


def test_each_estimator_can_be_chosen_in_training_and_none_is_the_default():
    choices = {path.stem for path in (Path(CONF_DIR) / "eval_ope").glob("*.yaml")}
    assert choices == {*ESTIMATORS, "none"}
    assert [composed(f"eval_ope={name}").eval_ope.estimator for name in ESTIMATORS] == [*ESTIMATORS]
    assert composed().eval_ope == {}


def test_estimates_in_training_have_the_values_of_an_evaluation_but_for_what_makes_them_quick():
    longer, own = composed("run=DIR", config="evaluate"), composed("eval_ope=fqe").eval_ope
    quick = {"num_updates", "target_update_freq", "batch_size", "network"}
    assert {key for key in own if key in longer and own[key] != longer[key]} == quick
    assert own.network == {**longer.network, "hidden_sizes": [64, 64]}
