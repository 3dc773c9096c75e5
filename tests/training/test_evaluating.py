"""Runs without an environment: what they measure, and that they learn what they would learn with one."""

import csv
from pathlib import Path

import numpy as np
import pytest

from bcq_exp.data import write_h5
from bcq_exp.io.files import read_json
from bcq_exp.training.experiment import build
from cases import checked, job, random_walk

SMALL = ("network.hidden_sizes=[8]", "batch_size=16", "compile=never", "num_threads=1", "num_updates=30", "log_freq=10",
         "eval_freq=10", "eval_episodes=1", "checkpoint_freq=10")  # fmt: skip
DISCRETE, BCQ = ("algorithm=discrete_bcq",), ("algorithm=bcq", "algorithm.forward_sampled_times=4")


def on(path: Path) -> tuple[str, str]:
    return "dataset=h5", f"dataset.path={path}"


class Killed(Exception):
    pass


def rows(run_dir: Path) -> list[dict[str, str]]:
    with (run_dir / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize(("algorithm", "kind"), [(DISCRETE, "discrete_file"), (BCQ, "continuous_file")])
def test_losses_are_the_same_with_and_without_an_environment(
    tmp_path: Path, request: pytest.FixtureRequest, algorithm: tuple[str, ...], kind: str
):
    path = request.getfixturevalue(kind)
    env = "CartPole-v1" if algorithm is DISCRETE else "Pendulum-v1"
    bounds = () if algorithm is DISCRETE else ("dataset.action_low=-2", "dataset.action_high=2")
    (played,) = build([job(tmp_path / "with", *SMALL, *on(path), *algorithm, f"dataset.env={env}")]).run()
    (alone,) = build([job(tmp_path / "without", *SMALL, *on(path), *algorithm, *bounds)]).run()
    both = [rows(tmp_path / name) for name in ("with", "without")]
    learned = [name for name in both[0][0] if name.startswith(("update", "train/", "diagnostics/"))]
    assert [[row[name] for name in learned] for row in both[0]] == [[row[name] for name in learned] for row in both[1]]
    assert (played["env"], alone["env"], alone["final_return"]) == (env, None, None)
    assert played["final_return"] is not None
    assert not {name for name in both[1][0] if name.startswith("eval/")}
    assert all(row["imitation/accuracy" if algorithm is DISCRETE else "imitation/error"] for row in both[1])


def test_members_of_a_population_hold_out_the_same_episodes_and_are_judged_on_them(tmp_path: Path, discrete_file: Path):
    typed = (*SMALL, *on(discrete_file), "dataset.holdout=0.2")
    jobs = [job(tmp_path / str(seed), *typed, f"seed={seed}") for seed in range(2)]
    build(jobs).run()
    accounts = [read_json(made.run_dir / "manifest.json")["dataset"] for made in jobs]
    assert accounts[0] == accounts[1]
    assert (accounts[0]["num_episodes"], accounts[0]["held_out"]["num_episodes"]) == (16, 4)
    (lone,) = build([job(tmp_path / "lone", *typed, "seed=1")]).run()
    assert lone["num_members"] == 1
    for name in ("train/loss", "imitation/accuracy"):
        found = [[float(row[name]) for row in rows(tmp_path / place)] for place in ("1", "lone")]
        assert found[0] == pytest.approx(found[1], rel=1e-5)


def test_a_run_that_was_killed_goes_on_to_the_same_rows(tmp_path: Path, discrete_file: Path):
    typed = (*SMALL, *on(discrete_file), "dataset.holdout=0.2")
    build([job(tmp_path / "whole", *typed)]).run()
    trainer = build([job(tmp_path / "killed", *typed)])
    advance = trainer.population.advance

    def fall(*arguments: object) -> None:
        if trainer.population.num_updates == 20:
            raise Killed
        advance(*arguments)

    trainer.population.advance = fall
    with pytest.raises(Killed):
        trainer.run()
    trainer.members[0].release()
    build([job(tmp_path / "killed", *typed)]).run()
    assert rows(tmp_path / "killed") == rows(tmp_path / "whole")


def test_a_part_that_is_held_out_is_not_learned_from_and_belongs_to_the_identity(tmp_path: Path):
    data = random_walk(10, is_discrete=True)
    for name in ("a", "b"):
        write_h5(tmp_path / f"{name}.h5", data, "CartPole-v1", {})
        data.rew[_held_rows(tmp_path / "a.h5")] += 5
    jobs = [job(tmp_path / name, *SMALL, *on(tmp_path / f"{name}.h5"), "dataset.holdout=0.2") for name in ("a", "b")]
    for made in jobs:
        build([made]).run()
    assert [row["train/loss"] for row in rows(tmp_path / "a")] == [row["train/loss"] for row in rows(tmp_path / "b")]
    accounts = [read_json(made.run_dir / "manifest.json")["dataset"] for made in jobs]
    assert accounts[0]["behaviour_return"] == accounts[1]["behaviour_return"]
    assert accounts[0]["sha256"] != accounts[1]["sha256"]
    other = job(tmp_path / "a", *SMALL, *on(tmp_path / "b.h5"), "dataset.holdout=0.2")
    with pytest.raises(ValueError, match="the data has changed"):
        build([other])


def _held_rows(path: Path) -> np.ndarray:
    from bcq_exp.training.datasets import load_parts

    judged = load_parts(checked(*on(path), "dataset.holdout=0.2").dataset).judged
    assert judged is not None
    return judged.rows


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        (("dataset.num_actions=1",), "has the action 1, and num_actions=1 allows 0 to 0; 2 are needed"),
        (("dataset.action_low=0.5",), "reaches from 0 to 1 in dimension 0, beyond action_low=0.5"),
        (("dataset.action_low=low",), "dataset: action_low=low; allowed: null, a finite number, or a list"),
        (("dataset.ref_min=0", "dataset.ref_max=9"), "dataset: ref_min=0.0 is a return in an environment"),
        (("dataset.holdout=1",), "dataset: holdout=1 leaves nothing to learn from"),
        (("dataset.holdout=1.5",), "dataset.holdout=1.5 is outside [0, 1]"),
        (("dataset.env=CartPole-v1", "dataset.num_actions=2"), "num_actions=2 is of a dataset without environment"),
        (("algorithm=bcq",), "algorithm=bcq is for continuous actions, not Discrete(2)"),
        (("network=nature_cnn",), "not Box(-inf, inf, (4,), float32)"),
        (("dataset.path=missing.npz",), "missing.npz"),
    ],
)
def test_keys_that_cannot_be_meant_without_an_environment_are_refused(discrete_file: Path, typed: tuple, said: str):
    with pytest.raises(ValueError) as refusal:
        checked(*on(discrete_file), *typed)
    assert said in str(refusal.value)


def test_a_dataset_that_is_recorded_in_an_environment_cannot_do_without():
    with pytest.raises(ValueError, match=r"dataset\.env=null: must have a value"):
        checked("dataset.env=null")


def test_a_holdout_that_leaves_no_episode_is_refused_before_anything_is_written(tmp_path: Path):
    write_h5(tmp_path / "one.h5", random_walk(1, is_discrete=True), "CartPole-v1", {})
    with pytest.raises(ValueError, match="leaves none of 1 episodes to learn from"):
        build([job(tmp_path / "run", *SMALL, *on(tmp_path / "one.h5"), "dataset.holdout=0.5")])
    assert not (tmp_path / "run").exists()
