import csv
import math
import shutil
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from bcq_exp.evaluation import Evaluation
from bcq_exp.experiment import make_population
from bcq_exp.trainer import Member, Trainer, read_json, write_json
from cases import checked, random_walk

SMALL = ("network.hidden_sizes=[8]", "batch_size=16", "algorithm.target_update_freq=7", "compile=never")


class Recorder:
    """A logger, and an evaluation, that remember when they were called."""

    def __init__(self) -> None:
        self.logged: list[tuple[int, set[str]]] = []
        self.finished: list[dict] = []
        self.evaluated: list[int] = []

    def log(self, update, metrics):
        self.logged.append((update, {name.split("/")[0] for name in metrics}))

    def finish(self, summary):
        self.finished.append(dict(summary))


def trainer_of(run_dirs: list[Path], recorders: list[Recorder], **schedule: int) -> Trainer:
    cfgs = [checked(*SMALL, f"seed={seed}") for seed in range(len(run_dirs))]
    population = make_population(cfgs, random_walk(10, is_discrete=True))

    def evaluation(recorder: Recorder) -> Evaluation:
        recorder.evaluated.append(population.num_updates)
        return Evaluation(np.array([float(population.num_updates), 0.0]), np.array([3, 5]))

    periods = {"num_updates": 25, "eval_freq": 10, "log_freq": 4, "checkpoint_freq": 9, "num_checkpoints": 2}
    members = [
        Member(
            run_dir=run_dir,
            facts={"algorithm": "discrete_bcq", "dataset": "random walk", "seed": seed},
            evaluate=partial(evaluation, recorder),
            score=lambda value: None,
            loggers=[recorder],
        )
        for seed, (run_dir, recorder) in enumerate(zip(run_dirs, recorders, strict=True))
    ]
    return Trainer(population, members, **{**periods, **schedule})


def rows(run_dir: Path) -> list[dict[str, str]]:
    with (run_dir / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_events_happen_at_their_updates_and_all_of_them_at_the_last(tmp_path: Path):
    recorder = Recorder()
    (summary,) = trainer_of([tmp_path], [recorder]).run()
    assert recorder.evaluated == [10, 20, 25]
    logged = dict(recorder.logged)
    assert sorted(logged) == [4, 8, 10, 12, 16, 20, 24, 25]
    assert logged[4] == {"train"}
    assert logged[10] == {"eval"}
    assert logged[20] == logged[25] == {"train", "eval"}
    assert [int(row["update"]) for row in rows(tmp_path)] == sorted(logged)
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == ["update_00000018", "update_00000025"]
    assert summary == read_json(tmp_path / "summary.json") == recorder.finished[0]
    assert summary["final_return"] == 12.5
    assert summary["final_return_std"] == 12.5
    assert summary["final_normalized_score"] is None
    assert summary["num_updates"] == 25
    assert summary["status"] == "finished"


class Stopped(Exception):
    pass


def test_runs_that_were_stopped_between_checkpoints_end_like_runs_that_were_not(tmp_path: Path):
    whole, broken = ([tmp_path / kind / str(seed) for seed in range(2)] for kind in ("whole", "broken"))
    for run_dir in (*whole, *broken):
        run_dir.mkdir(parents=True)
    unbroken = trainer_of(whole, [Recorder(), Recorder()])
    unbroken.run()

    first = trainer_of(broken, [Recorder(), Recorder()])
    advance = first.population.advance

    def stop_after_20(num_updates: int) -> None:
        if first.population.num_updates >= 20:
            raise Stopped
        advance(num_updates)

    first.population.advance = stop_after_20
    with pytest.raises(Stopped):
        first.run()
    assert int(rows(broken[0])[-1]["update"]) == 20  # rows beyond the checkpoint of update 18
    shutil.copytree(broken[1] / "checkpoints" / "update_00000018", broken[1] / "checkpoints" / "update_00000019")

    second = trainer_of(broken, [Recorder(), Recorder()])
    second.resume()
    assert second.population.num_updates == 18  # the last that both members have
    second.run()
    for resumed, straight in zip(broken, whole, strict=True):
        assert rows(resumed) == rows(straight)
    for resumed, straight in zip(second.population.policies, unbroken.population.policies, strict=True):
        for one, other in zip(resumed.parameters(), straight.parameters(), strict=True):
            assert torch.equal(one, other)


def test_a_member_that_diverges_ends_as_failed_and_the_others_go_on(tmp_path: Path):
    run_dirs, recorders = [tmp_path / "0", tmp_path / "1"], [Recorder(), Recorder()]
    for run_dir in run_dirs:
        run_dir.mkdir()
    trainer = trainer_of(run_dirs, recorders)
    trainer.population.advance(9)
    with torch.no_grad():
        next(trainer.population.policies[0].nets["model"].parameters()).fill_(math.inf)
    failed, finished = trainer.run()
    assert (failed["status"], failed["failed_at"]) == ("failed", 9)
    assert (finished["status"], finished["failed_at"]) == ("finished", None)
    assert failed == read_json(run_dirs[0] / "summary.json")
    assert [update for update, _ in recorders[0].logged] == [10]
    assert recorders[1].evaluated == [10, 20, 25]


def test_a_lone_run_that_diverges_ends_at_once(tmp_path: Path):
    trainer = trainer_of([tmp_path], [Recorder()])
    with torch.no_grad():
        next(trainer.population.policies[0].nets["model"].parameters()).fill_(math.inf)
    (summary,) = trainer.run()
    assert (summary["status"], summary["failed_at"], summary["num_updates"]) == ("failed", 0, 4)


def test_json_is_written_whole_or_not_at_all(tmp_path: Path):
    path = tmp_path / "summary.json"
    write_json(path, {"a": 1})
    with pytest.raises(ValueError):
        write_json(path, {"a": math.nan})
    assert read_json(path) == {"a": 1}
