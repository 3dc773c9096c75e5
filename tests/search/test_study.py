from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from optuna.distributions import CategoricalDistribution, IntDistribution
from optuna.trial import TrialState

from bcq_exp.search import study as study_module
from bcq_exp.search.study import Study
from search.imitation import SPACE, Runs, search, settings_of, value_of


def facts(trials: Sequence[Any]) -> list[tuple]:
    return [(trial.number, trial.state, trial.params, trial.values, trial.user_attrs) for trial in trials]


def test_a_trials_value_is_the_mean_over_its_seeds(tmp_path: Path):
    runs = Runs(tmp_path / "runs")
    trials = search(tmp_path, settings_of(seeds=[3, 5, 10], num_trials=5), runs)
    assert [number for number, _ in runs.asked] == [0, 6, 12]
    assert [len(words) for _, words in runs.asked] == [6, 6, 3]
    for trial in trials:
        lmbda = 100 * trial.params["algorithm.lmbda"]
        assert trial.value == pytest.approx(lmbda + 6)
        assert trial.user_attrs["by_seed"] == {"return": pytest.approx([lmbda + 3, lmbda + 5, lmbda + 10])}
    first = runs.asked[0][1]
    assert [value_of(words, "seed") for words in first] == ["3", "5", "10"] * 2
    assert all(words[0] == "algorithm=bcq" for words in first)


def test_a_trial_with_a_run_that_diverged_has_failed(tmp_path: Path):
    runs = Runs(tmp_path / "runs", lambda words: [] if value_of(words, "seed") == "1" else [7.0])
    trials = search(tmp_path, settings_of(num_seeds=2, num_trials=2), runs)
    assert [(trial.state, trial.values) for trial in trials] == [(TrialState.FAIL, None)] * 2


class Killed(BaseException):
    pass


NUMBERS = SPACE | {"batch_size": IntDistribution(16, 64, step=16)}


@pytest.mark.parametrize(
    ("sampler", "space"),
    [
        ("tpe", NUMBERS | {"optimizer": CategoricalDistribution(["adam", "adamw"])}),
        ("gp", NUMBERS | {"optimizer": CategoricalDistribution(["adam", "adamw"])}),
        ("cmaes", NUMBERS),
        ("random", NUMBERS),
        ("grid", {"optimizer": CategoricalDistribution(["adam", "sgd"]), "batch_size": IntDistribution(1, 6)}),
    ],
)
def test_a_search_that_is_killed_anywhere_equals_one_that_is_not(
    tmp_path: Path, sampler: str, space: dict[str, Any], monkeypatch: pytest.MonkeyPatch
):
    def returns(words: Sequence[str]) -> list[float]:
        return [sum(map(len, words)) + 10.0 * int(value_of(words, "batch_size"))]

    settings = settings_of(sampler=sampler, space=space, num_trials=14 if sampler == "gp" else 12, batch_size=4)
    whole = facts(search(tmp_path / "whole", settings, Runs(tmp_path / "whole" / "runs", returns)))
    assert len({str(params) for _, _, params, _, _ in whole}) > 8

    suggest, calls = study_module.suggest, 0

    def killing(*args: Any) -> None:
        nonlocal calls
        calls += 1
        if calls % 13 == 0:  # between two parameters of a trial, and between trials
            raise Killed
        suggest(*args)

    killed_after: list[Path] = []

    class KillingRuns(Runs):
        def run(self, words: Sequence[str]) -> Path:
            run_dir = super().run(words)
            if len(list(self.directory.iterdir())) % 5 == 0 and run_dir not in killed_after:
                killed_after.append(run_dir)
                raise Killed
            return run_dir

    monkeypatch.setattr(study_module, "suggest", killing)
    num_kills = 0
    while True:
        try:
            trials = search(tmp_path / "killed", settings, KillingRuns(tmp_path / "killed" / "runs", returns))
            break
        except Killed:
            num_kills += 1
    assert num_kills > 3
    assert facts(trials) == whole


def test_a_search_that_is_killed_while_it_tells_tells_the_rest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    settings, runs = settings_of(num_trials=4), Runs(tmp_path / "runs")
    whole = facts(search(tmp_path / "whole", settings, Runs(tmp_path / "runs")))
    spread = study_module.np.mean

    def kill_at_the_second(values: Any) -> Any:
        monkeypatch.setattr(study_module.np, "mean", spread)
        if len(runs.asked) == 1:
            monkeypatch.setattr(study_module.np, "mean", lambda values: (_ for _ in ()).throw(Killed))
        return spread(values)

    monkeypatch.setattr(study_module.np, "mean", kill_at_the_second)
    with pytest.raises(Killed):
        search(tmp_path / "killed", settings, runs)
    monkeypatch.setattr(study_module.np, "mean", spread)
    with Study.opened(settings, tmp_path / "killed") as left:
        assert [trial.state for trial in left.trials] == [TrialState.COMPLETE, TrialState.RUNNING]
    assert facts(search(tmp_path / "killed", settings, runs)) == whole
    assert [number for number, _ in runs.asked] == [0, 0, 2]  # the first batch was not whole, and is trained once more


def test_more_trials_extend_a_study_and_its_first_batch_is_compared_with_what_is_there(tmp_path: Path):
    runs = Runs(tmp_path / "runs")
    short = facts(search(tmp_path, settings_of(num_trials=3), runs))
    assert [number for number, _ in runs.asked] == [0, 2]
    longer = facts(search(tmp_path, settings_of(num_trials=6), runs))
    assert longer[:3] == short
    assert len(longer) == 6
    assert [number for number, _ in runs.asked[2:]] == [0, 3, 5]
    assert runs.asked[2] == runs.asked[0]


def test_storage_in_sqlite_goes_on_too(tmp_path: Path):
    place = str(tmp_path / "own.db")
    first = facts(search(tmp_path, settings_of(num_trials=2, storage=place), Runs(tmp_path / "runs")))
    both = facts(search(tmp_path, settings_of(num_trials=4, storage=f"sqlite:///{place}"), Runs(tmp_path / "runs")))
    journal = facts(search(tmp_path / "other", settings_of(num_trials=4), Runs(tmp_path / "runs")))
    assert both[:2] == first
    assert [params for _, _, params, _, _ in both] == [params for _, _, params, _, _ in journal]
    assert not (tmp_path / "study.journal").exists()


def test_a_grid_ends_with_its_last_point(tmp_path: Path):
    space = {"optimizer": CategoricalDistribution(["adam", "sgd"]), "batch_size": IntDistribution(16, 48, step=16)}
    runs = Runs(tmp_path / "runs", lambda words: [1.0])
    trials = search(tmp_path, settings_of(num_trials=100, sampler="grid", space=space, batch_size=4), runs)
    assert [(t.params["optimizer"], t.params["batch_size"]) for t in trials] == [
        ("adam", 16), ("adam", 32), ("adam", 48), ("sgd", 16), ("sgd", 32), ("sgd", 48)
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"sampler": "random"}, "hydra.sweeper.sampler: tpe before, random now"),
        ({"num_seeds": 2}, "hydra.sweeper.seeds: 0 before, 0,1 now"),
        ({"seed": 1}, "hydra.sweeper.seed: 0 before, 1 now"),
        ({"batch_size": 3}, "hydra.sweeper.batch_size: 2 before, 3 now"),
        ({"pruning": "successive_halving"}, "hydra.sweeper.pruning: none before, successive_halving now"),
        ({"space": {**SPACE, "algorithm.tau": IntDistribution(1, 2)}}, "algorithm.tau: FloatDistribution"),
        ({"objectives": ["return", "ope"]}, "hydra.sweeper.objectives: return before, return,ope now"),
    ],
)
def test_a_study_of_another_search_is_refused_with_what_differs(tmp_path: Path, keys: dict[str, Any], said: str):
    search(tmp_path, settings_of(num_trials=2), Runs(tmp_path / "runs"))
    with pytest.raises(ValueError) as caught:
        search(tmp_path, settings_of(num_trials=2, **keys), Runs(tmp_path / "runs"))
    assert said in str(caught.value)
    assert str(tmp_path) in str(caught.value)


def test_a_study_that_another_process_has_is_refused(tmp_path: Path):
    with Study.opened(settings_of(), tmp_path), pytest.raises(ValueError, match="another process searches in"):
        search(tmp_path, settings_of(), Runs(tmp_path / "runs"))


@pytest.mark.parametrize(
    ("name", "content"), [("study.journal", b"{}\n"), ("study.journal", b"\x00\xff\n\n"), ("own.db", b"x" * 200)]
)
def test_a_damaged_study_is_named(tmp_path: Path, name: str, content: bytes):
    (tmp_path / name).write_bytes(content)
    storage = None if name == "study.journal" else str(tmp_path / name)
    with pytest.raises(ValueError) as caught:
        search(tmp_path, settings_of(storage=storage), Runs(tmp_path / "runs"))
    assert str(caught.value).startswith(f"{tmp_path / name} holds no study of Optuna's, or was damaged")
    assert "\n" not in str(caught.value)
