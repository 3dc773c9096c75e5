import csv
import logging
import math
import os
import re
import shutil
import signal
import time
from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
import torch
from torch.utils._pytree import tree_leaves

from bcq_exp.engine.population import Population
from bcq_exp.io.checkpoint import common_checkpoints, load_checkpoint, save_checkpoint
from bcq_exp.io.files import read_json
from bcq_exp.io.interruption import Interrupted
from bcq_exp.training.experiment import diagnosis, make_population
from bcq_exp.training.member import Member
from bcq_exp.training.trainer import Stopping, Trainer
from cases import checked, random_walk

EVAL_NAMES = ("eval/return", "eval/return_std", "eval/length")
SMALL = ("network.hidden_sizes=[8]", "batch_size=16", "algorithm.target_update_freq=7", "compile=never")


class Recorder:
    """A logger that remembers when it was called, and the updates whose weights were evaluated."""

    def __init__(self) -> None:
        self.logged: list[tuple[int, set[str]]] = []
        self.finished: list[dict] = []
        self.evaluated: list[int] = []

    def log(self, update, metrics):
        self.logged.append((update, {name.split("/")[0] for name in metrics}))

    def finish(self, summary):
        self.finished.append(dict(summary))


def trainer_of(
    run_dirs: list[Path],
    recorders: list[Recorder],
    *,
    evaluates_beside: bool = False,
    stopping: Stopping | None = None,
    **schedule: int,
) -> Trainer:
    """Runs whose evaluations return the update at which the weights were taken, and 0."""
    cfgs = [checked(*SMALL, f"seed={seed}") for seed in range(len(run_dirs))]
    population = make_population(cfgs, random_walk(10, is_discrete=True))

    periods = {
        "num_updates": 25,
        "eval_freq": 10,
        "log_freq": 4,
        "checkpoint_freq": 9,
        "num_checkpoints": 2,
        **schedule,
    }

    def evaluate(indices: Sequence[int], show: Callable[[str], object]) -> dict[int, dict[str, float]]:
        show("1")
        taken, deadline = recorders[indices[0]].evaluated[-1], time.monotonic() + 60
        has_checkpoint = taken % periods["checkpoint_freq"] == 0 or taken == periods["num_updates"]
        while evaluates_beside and stopping is None and not has_checkpoint and population.num_updates == taken:
            assert time.monotonic() < deadline, "no update was made meanwhile"
            time.sleep(0.001)
            show("2")
        means = {index: recorders[index].evaluated[-1] / 2 for index in indices}
        return {index: dict(zip(EVAL_NAMES, (mean, mean, 4.0), strict=True)) for index, mean in means.items()}

    members = [
        Member(
            run_dir=run_dir,
            facts={"algorithm": "discrete_bcq", "dataset": "random walk", "seed": seed},
            copy_weights=lambda recorder=recorder: recorder.evaluated.append(population.num_updates),
            weights=lambda recorder=recorder: {"taken": recorder.evaluated[-1]},
            give_weights=lambda weights, recorder=recorder: recorder.evaluated.append(weights["taken"]),
            diagnoses={"diagnostics": diagnosis(cfgs[seed], population.policies[seed], population.buffer)},
            logger=recorder,
            release=lambda: None,
        )
        for seed, (run_dir, recorder) in enumerate(zip(run_dirs, recorders, strict=True))
    ]
    return Trainer(
        population,
        members,
        evaluate,
        eval_names=EVAL_NAMES,
        evaluates_beside=evaluates_beside,
        stopping=stopping,
        **periods,
    )


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
    assert logged[10] == {"eval", "diagnostics"}
    assert logged[20] == logged[25] == {"train", "eval", "diagnostics"}
    assert [int(row["update"]) for row in rows(tmp_path)] == sorted(logged)
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == ["update_00000018", "update_00000025"]
    assert summary == read_json(tmp_path / "summary.json")
    assert recorder.finished == [{key: value for key, value in summary.items() if value is not None}]
    assert summary["final_return"] == 12.5
    assert summary["final_return_std"] == 12.5
    assert summary["final_normalized_score"] is None
    assert summary["num_updates"] == 25
    assert summary["status"] == "finished"


class Stopped(Exception):
    pass


def fall_at(trainer: Trainer, update: int) -> None:
    """The run ends without warning once that update is made."""
    advance = trainer.population.advance

    def advance_or_fall(*args: Any) -> None:
        if trainer.population.num_updates >= update:
            raise Stopped
        advance(*args)

    trainer.population.advance = advance_or_fall


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize("evaluates_beside", [False, True])
def test_runs_that_were_stopped_between_checkpoints_end_like_runs_that_were_not(tmp_path: Path, evaluates_beside: bool):
    whole, broken = ([tmp_path / kind / str(seed) for seed in range(2)] for kind in ("whole", "broken"))
    for run_dir in (*whole, *broken):
        run_dir.mkdir(parents=True)
    unbroken = trainer_of(whole, [Recorder(), Recorder()])
    unbroken.run()

    first = trainer_of(broken, [Recorder(), Recorder()], evaluates_beside=evaluates_beside)
    fall_at(first, 20)
    with pytest.raises(Stopped):
        first.run()
    # Rows beyond the checkpoint of update 18; with an evaluation that goes on there are none.
    assert int(rows(broken[0])[-1]["update"]) == (16 if evaluates_beside else 20)
    shutil.copytree(broken[1] / "checkpoints" / "update_00000018", broken[1] / "checkpoints" / "update_00000019")

    second = trainer_of(broken, [Recorder(), Recorder()], evaluates_beside=evaluates_beside)
    second.resume()
    assert second.population.num_updates == 18  # the last that both members have
    second.run()
    for resumed, straight in zip(broken, whole, strict=True):
        assert rows(resumed) == rows(straight)
    for resumed, straight in zip(second.population.policies, unbroken.population.policies, strict=True):
        for one, other in zip(resumed.parameters(), straight.parameters(), strict=True):
            assert torch.equal(one, other)


def test_diagnostics_change_neither_weights_nor_other_metrics(tmp_path: Path):
    left = []
    for is_diagnosed in (True, False):
        run_dir = tmp_path / str(is_diagnosed)
        run_dir.mkdir()
        with pytest.MonkeyPatch.context() as patch:
            if not is_diagnosed:
                patch.setattr("bcq_exp.policies.diagnosis.Diagnosis._of_first", lambda *_: {})
            trainer = trainer_of([run_dir], [Recorder()])
            trainer.run()
        (policy,) = trainer.population.policies
        left.append((rows(run_dir), torch.cat([tensor.flatten() for tensor in policy.state_dict().values()])))
    (logged, weights), (bare, expected) = left
    names = [name for name in logged[-1] if name.startswith("diagnostics/")]
    assert names
    assert all(bool(row[name]) == bool(row["eval/return"]) for row in logged for name in names)
    assert [{name: value for name, value in row.items() if name not in names} for row in logged] == bare
    assert torch.equal(weights, expected)


def test_evaluations_beside_the_updates_leave_what_evaluations_between_them_leave(tmp_path: Path):
    left = []
    for evaluates_beside in (False, True):
        run_dirs = [tmp_path / str(evaluates_beside) / str(seed) for seed in range(2)]
        for run_dir in run_dirs:
            run_dir.mkdir(parents=True)
        recorders = [Recorder(), Recorder()]
        trainer = trainer_of(run_dirs, recorders, evaluates_beside=evaluates_beside, checkpoint_freq=50)
        summaries = [{**summary, "updates_per_second": None} for summary in trainer.run()]
        checkpoints = [load_checkpoint(run_dir / "checkpoints" / "update_00000025") for run_dir in run_dirs]
        left.append(
            (
                summaries,
                [(recorder.logged, recorder.evaluated) for recorder in recorders],
                [rows(run_dir) for run_dir in run_dirs],
                [state["last_evaluation"] for state in checkpoints],
            )
        )
    between, beside = left
    assert beside == between
    assert [row["eval/return"] for row in beside[2][0] if row["eval/return"]] == ["5.0", "10.0", "12.5"]


def test_an_evaluation_that_fails_beside_the_updates_ends_the_run(tmp_path: Path):
    trainer = trainer_of([tmp_path], [Recorder()], evaluates_beside=True)

    def fall(indices: Sequence[int], show: Callable[[str], object]) -> dict[int, dict[str, float]]:
        raise Stopped

    trainer.evaluate = fall
    with pytest.raises(Stopped):
        trainer.run()


def test_a_run_that_ends_early_ends_the_evaluation_beside_it(tmp_path: Path):
    trainer, ended = trainer_of([tmp_path], [Recorder()], evaluates_beside=True), []

    def without_end(indices: Sequence[int], show: Callable[[str], object]) -> dict[int, dict[str, float]]:
        try:
            while True:
                show("")
        except CancelledError:
            ended.append(True)
            raise

    fall_at(trainer, 10)
    trainer.evaluate = without_end
    with pytest.raises(Stopped):
        trainer.run()
    assert ended


def test_a_member_that_diverges_ends_as_failed_and_the_others_go_on(tmp_path: Path, caplog: pytest.LogCaptureFixture):
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
    assert recorders[0].logged == recorders[0].evaluated == []
    assert recorders[1].evaluated == [10, 20, 25]
    assert caplog.text.count("the loss is not finite at update 9") == 1
    resumed = trainer_of(run_dirs, recorders)
    resumed.resume()
    assert resumed.failed_at == [9, None]
    assert [summary["failed_at"] for summary in resumed.run()] == [9, None]


@pytest.mark.parametrize("evaluates_beside", [False, True])
@pytest.mark.parametrize("is_parted", [False, True])
def test_members_that_are_chosen_after_an_evaluation_end_as_pruned(
    tmp_path: Path, evaluates_beside: bool, is_parted: bool, monkeypatch: pytest.MonkeyPatch
):
    if is_parted:  # each member is updated by a call of its own, which ends with it
        monkeypatch.setattr("bcq_exp.engine.population.EAGER_BYTES", 0)
    asked: list[tuple[int, list[float | None]]] = []

    def first_at_the_first(number: int, returns: Any) -> list[int]:
        asked.append((number, list(returns)))
        return [0] if number == 1 else []

    def run(name: str, *, is_killed: bool) -> list[dict]:
        run_dirs = [tmp_path / name / str(seed) for seed in range(2)]
        for run_dir in run_dirs:
            run_dir.mkdir(parents=True)
        made = [Recorder(), Recorder()]
        trainer = trainer_of(run_dirs, made, evaluates_beside=evaluates_beside, stopping=first_at_the_first)
        if is_killed:  # after the checkpoint at 18, which knows who was pruned at 10
            fall_at(trainer, 20)
            with pytest.raises(Stopped):
                trainer.run()
            trainer = trainer_of(run_dirs, made, evaluates_beside=evaluates_beside, stopping=first_at_the_first)
            trainer.resume()
            assert trainer.population.stopped == {0}
        summaries = trainer.run()
        assert summaries == [read_json(run_dir / "summary.json") for run_dir in run_dirs]
        assert [int(row["update"]) for row in rows(run_dirs[0])] == [4, 8, 10]
        assert [int(row["update"]) for row in rows(run_dirs[1])] == [4, 8, 10, 12, 16, 20, 24, 25]
        return summaries

    pruned, finished = run("whole", is_killed=False)
    assert asked == [(1, [5.0, 5.0]), (2, [None, 10.0])]  # not after the last update
    assert (pruned["status"], pruned["pruned_at"], pruned["num_updates"]) == ("pruned", 10, 10)
    assert (pruned["final_return"], finished["final_return"]) == (5.0, 12.5)
    assert (finished["status"], finished["num_updates"]) == ("finished", 25)
    assert "pruned_at" not in finished
    killed = run("killed", is_killed=True)
    assert [each["final_return"] for each in killed] == [5.0, 12.5]
    assert [each["status"] for each in killed] == ["pruned", "finished"]


def test_a_lone_run_that_diverges_ends_at_once(tmp_path: Path):
    trainer = trainer_of([tmp_path], [Recorder()])
    with torch.no_grad():
        next(trainer.population.policies[0].nets["model"].parameters()).fill_(math.inf)
    (summary,) = trainer.run()
    assert (summary["status"], summary["failed_at"], summary["num_updates"]) == ("failed", 0, 4)


def shown_by(run_dirs: list[Path], caplog: pytest.LogCaptureFixture) -> tuple[list[dict], str, str]:
    """Summaries of a run whose first member diverges, its last line of progress, and how it ended."""
    for run_dir in run_dirs:
        run_dir.mkdir()
    trainer = trainer_of(run_dirs, [Recorder() for _ in run_dirs])
    if len(run_dirs) > 1:
        with torch.no_grad():
            next(trainer.population.policies[0].nets["model"].parameters()).fill_(math.inf)
    with caplog.at_level(logging.INFO):
        summaries = trainer.run()
    lines = {record.name: record.message for record in caplog.records if record.levelno == logging.INFO}
    return summaries, lines["bcq_exp.io.progress"], lines["bcq_exp.training.trainer"]


def test_a_population_shows_the_scores_of_those_that_have_not_failed(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    _, line, _ = shown_by([tmp_path / str(seed) for seed in range(4)], caplog)
    head = r"discrete_bcq on random walk 25/25 4 members, 1 failed \| best return 12\.5 median 12\.5 \| "
    assert re.fullmatch(head + r"[\d.e+]+ updates/s x 4 \| 0:00:00 left", line)


def test_a_lone_run_shows_its_seed_and_score(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    _, line, _ = shown_by([tmp_path / "0"], caplog)
    assert re.fullmatch(r"discrete_bcq on random walk, seed 0 25/25 .*loss .*, return 12\.5, .* left", line)


def test_compiling_is_reported_apart_from_the_updates(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
):
    clock, advance = Clock(), Population.advance

    def timed_advance(population: Population, num_updates: int, is_over: Callable[[], bool]) -> None:
        if population.num_updates == 0:
            monkeypatch.setattr(Population, "compile_seconds", 50.0)
            clock.now += 50.0
        clock.now += num_updates * 0.48
        advance(population, num_updates, is_over)

    monkeypatch.setattr("bcq_exp.training.trainer.time.perf_counter", clock)
    monkeypatch.setattr(Population, "advance", timed_advance)
    monkeypatch.setattr(Population, "compile_seconds", 0.0)
    (summary,), _, line = shown_by([tmp_path / "0"], caplog)
    assert line == "25 updates in 0:00:12, besides 50.0 s of compiling"
    assert summary["updates_per_second"] == pytest.approx(1 / 0.48)
    assert summary["compile_seconds"] == 50.0


def send(signum: signal.Signals) -> None:
    os.kill(os.getpid(), signum)


def stop_at(trainer: Trainer, update: int) -> None:
    """A signal comes when that update is made."""
    advance, sent = trainer.population.advance, []

    def interrupted(num_updates: int, is_over: Callable[[], bool]) -> None:
        def look() -> bool:
            if trainer.population.num_updates == update and not sent:
                sent.append(update)
                send(signal.SIGTERM)
            return is_over()

        advance(num_updates, look)

    trainer.population.advance = interrupted


def stop_in_evaluation(trainer: Trainer, update: int) -> None:
    """A signal comes in the evaluation after that update."""
    evaluate = trainer.evaluate

    def interrupted(indices: Sequence[int], show: Callable[[str], object]) -> dict[int, dict[str, float]]:
        if trainer.population.num_updates == update:
            send(signal.SIGUSR1)
            show("")
        return evaluate(indices, show)

    trainer.evaluate = interrupted


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    run_dirs = [tmp_path_factory.mktemp("run") for _ in range(2)]
    trainer_of(run_dirs, [Recorder(), Recorder()]).run()
    return run_dirs


@pytest.mark.parametrize("evaluates_beside", [False, True])
@pytest.mark.parametrize("stop", [partial(stop_at, update=update) for update in (1, 7, 8, 9, 10, 11, 20, 24, 25)]
                         + [partial(stop_in_evaluation, update=update) for update in (10, 20, 25)])  # fmt: skip
def test_runs_that_a_signal_stopped_end_like_runs_that_were_not(
    tmp_path: Path, unbroken: list[Path], stop: partial, evaluates_beside: bool
):
    (update,) = stop.keywords.values()
    if evaluates_beside and stop.func is stop_in_evaluation:
        pytest.skip("signals come to the main thread")
    whole_dirs = unbroken
    run_dirs = [tmp_path / str(seed) for seed in range(2)]
    for run_dir in run_dirs:
        run_dir.mkdir()
    first = trainer_of(run_dirs, [Recorder(), Recorder()], evaluates_beside=evaluates_beside)
    stop(first)
    with pytest.raises(Interrupted, match="stopped by SIG"):
        first.run()
    assert first.population.num_updates == update
    assert all(common_checkpoints([run_dir])[0][0].name == f"update_{update:08d}" for run_dir in run_dirs)
    assert not any((run_dir / "summary.json").exists() for run_dir in run_dirs)

    recorders = [Recorder(), Recorder()]
    second = trainer_of(run_dirs, recorders, evaluates_beside=evaluates_beside)
    second.resume()
    assert second.population.num_updates == update
    summaries = second.run()
    for resumed, straight in zip(run_dirs, whole_dirs, strict=True):
        assert (resumed / "metrics.csv").read_bytes() == (straight / "metrics.csv").read_bytes()
        states = [load_checkpoint(common_checkpoints([path])[0][0])["learner"] for path in (resumed, straight)]
        for one, other in zip(*map(tree_leaves, states), strict=True):
            assert torch.equal(one, other) if isinstance(one, torch.Tensor) else one == other
    assert [{**s, "updates_per_second": 0} for s in summaries] == [
        {**read_json(path / "summary.json"), "updates_per_second": 0} for path in whole_dirs
    ]
    # Other sinks get every row once more, those of before the stop as well.
    logged = [dict.fromkeys(update for update, _ in recorder.logged) for recorder in recorders]
    assert [list(updates) for updates in logged] == [[4, 8, 10, 12, 16, 20, 24, 25]] * 2


def test_a_signal_before_the_first_update_or_behind_a_checkpoint_ends_the_run_at_once(tmp_path: Path):
    trainer = trainer_of([tmp_path], [Recorder()])
    trainer.population.step = Mock(side_effect=lambda *_: send(signal.SIGHUP))
    with pytest.raises(Interrupted):
        trainer.run()
    assert not (tmp_path / "checkpoints").exists()
    trainer = trainer_of([tmp_path], [Recorder()], log_freq=100, eval_freq=100)
    advance = trainer.population.advance

    def stop_after_9(*args: Any) -> None:
        if trainer.population.num_updates == 9:
            send(signal.SIGHUP)
            raise AssertionError("not at once")
        advance(*args)

    trainer.population.advance = stop_after_9
    with pytest.raises(Interrupted):
        trainer.run()
    assert trainer.saved_at == 9


def test_a_diverged_run_that_is_stopped_before_it_is_known_ends_at_the_same_update(tmp_path: Path):
    summaries = []
    for is_stopped in (False, True):
        run_dir = tmp_path / str(is_stopped)
        run_dir.mkdir()
        trainer = trainer_of([run_dir], [Recorder()], log_freq=5)
        with torch.no_grad():
            next(trainer.population.policies[0].nets["model"].parameters()).fill_(math.inf)
        if is_stopped:
            stop_at(trainer, 3)
            with pytest.raises(Interrupted):
                trainer.run()
            trainer = trainer_of([run_dir], [Recorder()], log_freq=5)
            trainer.resume()
        (summary,) = trainer.run()
        summaries.append((summary["status"], summary["failed_at"], summary["num_updates"]))
    assert summaries == [("failed", 0, 5)] * 2


def test_a_run_goes_back_past_a_damaged_checkpoint(tmp_path: Path):
    trainer_of([tmp_path], [Recorder()], num_checkpoints=9).run()
    whole = (tmp_path / "metrics.csv").read_bytes()
    (tmp_path / "checkpoints" / "update_00000025" / "state.json").write_text("{}")
    (tmp_path / ".summary.json.0123456789abcdef0123456789abcdef.partial").write_text("{")
    trainer = trainer_of([tmp_path], [Recorder()], num_checkpoints=9)
    trainer.resume()
    assert trainer.population.num_updates == 18
    assert [int(row["update"]) for row in rows(tmp_path)] == [4, 8, 10, 12, 16]
    trainer.run()
    assert (tmp_path / "metrics.csv").read_bytes() == whole
    assert not list(tmp_path.glob(".*"))


def test_a_checkpoint_of_another_run_is_refused(tmp_path: Path):
    trainer_of([tmp_path], [Recorder()]).run()
    path = tmp_path / "checkpoints" / "update_00000025"
    state = load_checkpoint(path)
    del state["learner"]["policy"]
    save_checkpoint(tmp_path, 25, state)
    with pytest.raises(ValueError, match="update_00000025 does not fit the configuration of its run: 'policy'"):
        trainer_of([tmp_path], [Recorder()]).resume()


def test_members_have_a_common_checkpoint_even_while_they_save(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    run_dirs = [tmp_path / str(seed) for seed in range(2)]
    for run_dir in run_dirs:
        run_dir.mkdir()
    trainer, save = trainer_of(run_dirs, [Recorder(), Recorder()], num_checkpoints=1), save_checkpoint

    def killed(directory: Path, update: int, state: dict) -> Path:
        if (directory, update) == (run_dirs[1], 18):
            raise Stopped
        return save(directory, update, state)

    monkeypatch.setattr("bcq_exp.training.trainer.save_checkpoint", killed)
    with pytest.raises(Stopped):
        trainer.run()
    second = trainer_of(run_dirs, [Recorder(), Recorder()])
    second.resume()
    assert second.population.num_updates == 9
