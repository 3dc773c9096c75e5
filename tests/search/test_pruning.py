from pathlib import Path

import pytest
from optuna.trial import TrialState

from bcq_exp.search.pruning import Halving, is_rung
from bcq_exp.search.study import Study, compared
from search.imitation import Runs, search, settings_of
from trained import write_run


def test_trials_are_compared_at_powers_of_two():
    assert [number for number in range(1, 20) if is_rung(number)] == [1, 2, 4, 8, 16]


@pytest.mark.parametrize(
    ("returns", "ended"),
    [
        ([1.0, 1, 4, 4, 3, 3, 2, 2], [0, 1, 6, 7]),
        ([9.0, -9, 4, 4, 3, 3, 2, 2], [0, 1, 6, 7]),  # the mean over two seeds counts
        ([1.0, 1, 1, 1, 1, 1, 1, 1], []),  # equal ones stay
        ([1.0, 1, None, None, None, None, 2, 2], [0, 1]),  # of those that are left
        ([5.0, None, 4, 4, 3, 3, 2, 2], [0, 4, 5, 6, 7]),  # one that has diverged has failed whatever the other does
    ],
)
def test_the_worse_half_of_the_trials_ends(returns: list[float | None], ended: list[int]):
    assert Halving(2, []).worse([0, 0, 1, 1, 2, 2, 3, 3], 2, returns) == ended
    assert Halving(2, []).worse([0, 0, 1, 1, 2, 2, 3, 3], 3, returns) == []


def test_trials_of_earlier_batches_are_compared_at_the_same_evaluation():
    earlier = [{1: 10.0, 2: 30.0}, {1: 9.0}]
    assert Halving(1, earlier).worse([2, 3], 1, [9.5, 8.0]) == [1]
    assert Halving(1, earlier).worse([2, 3], 2, [9.5, 8.0]) == [0, 1]  # of three values the best goes on
    assert Halving(1, earlier).worse([2, 3], 4, [9.5, 8.0]) == [1]


def test_a_trial_whose_seeds_are_in_two_groups_trains_on():
    choice = Halving(2, []).among([Path("a"), Path("b"), Path("c"), Path("d")])
    assert choice([Path("b"), Path("c"), Path("d")])(1, [-100.0, 1.0, 1.0]) == []
    assert choice([Path("a"), Path("b"), Path("c"), Path("d")])(1, [-100.0, -100.0, 1.0, 1.0]) == [0, 1]


def test_a_pruned_trial_has_the_value_of_its_last_evaluation_and_later_batches_know_it(tmp_path: Path):
    settings = settings_of(pruning="successive_halving", num_trials=2, num_seeds=2)
    for name, returns in (("a", [1.0, 5.0, 6.0]), ("b", [2.0, 7.0, 8.0])):
        write_run(tmp_path / name, algorithm="bcq", seed=0, returns=returns, status="pruned")
    for name in ("c", "d"):
        write_run(tmp_path / name, algorithm="bcq", seed=0, returns=[10.0, 20.0, 30.0, 40.0, 50.0])
    assert compared([tmp_path / "a", tmp_path / "b"]) == {1: 1.5, 2: 6.0}
    with Study.opened(settings, tmp_path) as study:
        study.run(lambda words, number, halving: [tmp_path / name for name in "abcd"], [])
        pruned, whole = study.trials
        assert (pruned.state, pruned.value, pruned.intermediate_values) == (TrialState.PRUNED, 6.0, {1: 1.5, 2: 6.0})
        assert (whole.state, whole.value) == (TrialState.COMPLETE, 50.0)
        halving = study.pruning(2)
        assert halving is not None
        assert halving.earlier == [{1: 1.5, 2: 6.0}, {1: 10.0, 2: 20.0, 4: 40.0}]


def test_without_pruning_nothing_is_compared(tmp_path: Path):
    (trial, _) = search(tmp_path, settings_of(num_trials=2), Runs(tmp_path / "runs"))
    assert trial.intermediate_values == {}
